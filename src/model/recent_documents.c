/*-------------------------------------------------------------------------
 *
 * recent_documents.c
 *	  What the documents that a process has read recently were parsed to.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Many keys have the same few documents, as plans and presets have them, and to
 * parse one takes ten times as long as to copy the result, which is one chunk of
 * memory.  The result depends on the documents alone, so it is never outdated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/compat.h"
#include "model/recent_documents.h"

#define MAX_SIZE	4096		/* of what is remembered, in bytes, of each kind */

/* Are two values that are not compressed the same, or both NULL? */
static bool
is_same(const struct varlena *a, const struct varlena *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

/* Returns what is known of a document, or NULL; valid until another is added. */
const RecentDocument *
recent_documents_find(const RecentDocuments *recent, const void *document, const void *other)
{
	for (int i = 0; i < RECENT_DOCUMENTS; i++)
	{
		const RecentDocument *known = &recent->documents[i];

		if (known->document != NULL && is_same(known->document, document) && is_same(known->other, other))
			return known;
	}
	return NULL;
}

/* Returns a copy of a value behind what is at *free, and moves that; NULL of NULL. */
static void *
append(char **free, const void *value, Size size)
{
	char	   *copy = *free;

	if (value == NULL)
		return NULL;
	*free += MAXALIGN(size);
	return memcpy(copy, value, size);
}

/* Adds a document that is not known, in place of another, unless it is large. */
void
recent_documents_add(RecentDocuments *recent, const void *document, const void *other,
					 const void *result, Size size)
{
	RecentDocument *known = &recent->documents[recent->next];
	Size		document_size = VARSIZE(document);
	Size		other_size = other != NULL ? VARSIZE(other) : 0;
	char	   *free;

	if (document_size > MAX_SIZE || other_size > MAX_SIZE || size > MAX_SIZE)
		return;

	free = MemoryContextAlloc(TopMemoryContext, MAXALIGN(document_size) + MAXALIGN(other_size) + size);
	if (known->document != NULL)
		pfree(known->document);
	known->document = append(&free, document, document_size);
	known->other = append(&free, other, other_size);
	known->result = append(&free, result, size);
	known->size = size;
	known->origin = result;
	recent->next = (recent->next + 1) % RECENT_DOCUMENTS;
}

/* Copies a result; pointers into it have to be moved. */
void *
recent_document_copy(const RecentDocument *recent, MemoryContext memory)
{
	return memcpy(MemoryContextAlloc(memory, recent->size), recent->result, recent->size);
}
