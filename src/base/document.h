/*-------------------------------------------------------------------------
 *
 * document.h
 *	  JSON objects whose members are known.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_DOCUMENT_H
#define APIKEYS_DOCUMENT_H

#include "utils/jsonb.h"

#include "base/compat.h"

typedef struct DocumentMember
{
	const char *name;
	uint32		type;			/* as the document's visitor understands it */
	Size		offset;			/* likewise */
} DocumentMember;

typedef struct Document
{
	const char *name;			/* for messages */
	const DocumentMember *members;
	int			nmembers;
} Document;

/* Called with each member that is present. */
typedef void (*DocumentVisitor)(const Document *document, const DocumentMember *member,
								JsonbValue *value, void *arg);

extern void document_visit(const Document *document, Jsonb *jsonb,
						   DocumentVisitor visit, void *arg);
pg_noreturn extern void document_bad_value(const Document *document, const DocumentMember *member,
										   const char *expected);
extern Datum document_parse_string(const Document *document, const DocumentMember *member,
								   Oid type, const JsonbValue *json);

#endif							/* APIKEYS_DOCUMENT_H */
