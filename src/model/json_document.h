/*-------------------------------------------------------------------------
 *
 * json_document.h
 *	  JSON objects whose members are known.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_JSON_DOCUMENT_H
#define APIKEYS_MODEL_JSON_DOCUMENT_H

#include "utils/jsonb.h"

#include "base/compat.h"

typedef struct JsonDocumentMember
{
	const char *name;
	uint32		type;			/* its meaning is the visitor's */
	Size		offset;			/* likewise */
} JsonDocumentMember;

typedef struct JsonDocument
{
	const char *name;			/* for messages */
	const JsonDocumentMember *members;
	int			nmembers;
} JsonDocument;

/* Called for each member that is present. */
typedef void (*JsonDocumentVisitor)(const JsonDocument *document, const JsonDocumentMember *member,
									JsonbValue *value, void *arg);

#define JSON_DOCUMENT_MAX_BYTES		65536	/* of one that is stored, as jsonb */
#define JSON_CHANGES_MAX_BYTES		262144	/* of changes to several of them */

extern void json_document_check_size(const char *name, Datum document, Size max_bytes);
extern void json_document_visit(const JsonDocument *document, Jsonb *jsonb,
								JsonDocumentVisitor visit, void *arg);
pg_noreturn extern void json_document_raise_bad_value(const JsonDocument *document, const JsonDocumentMember *member,
													  const char *expected);
extern int64 json_document_parse_integer(const JsonDocument *document, const JsonDocumentMember *member,
										 const JsonbValue *json);
extern Datum json_document_parse_string(const JsonDocument *document, const JsonDocumentMember *member,
										Oid type, const JsonbValue *json);
extern void json_document_push_key(JsonbParseState **state, const char *name);
extern bool json_document_same_values(const JsonDocument *document, const Datum *a, const bool *a_nulls,
									  const Datum *b, const bool *b_nulls);

#endif							/* APIKEYS_MODEL_JSON_DOCUMENT_H */
