/*-------------------------------------------------------------------------
 *
 * recent_documents.h
 *	  What the documents that a process has read recently were parsed to.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_RECENT_DOCUMENTS_H
#define APIKEYS_MODEL_RECENT_DOCUMENTS_H

#define RECENT_DOCUMENTS	8

/* A document, with the other value that goes into the result, or without; and that. */
typedef struct RecentDocument
{
	struct varlena *document;	/* NULL: none */
	struct varlena *other;		/* or NULL */
	Size		size;			/* of the result */
	char	   *result;
	const char *origin;			/* of which that is a copy; its pointers point there */
} RecentDocument;

/* To be static, and initially zero. */
typedef struct RecentDocuments
{
	int			next;			/* to be replaced */
	RecentDocument documents[RECENT_DOCUMENTS];
} RecentDocuments;

extern const RecentDocument *recent_documents_find(const RecentDocuments *recent,
												   const void *document, const void *other);
extern void recent_documents_add(RecentDocuments *recent, const void *document, const void *other,
								 const void *result, Size size);
extern void *recent_document_copy(const RecentDocument *recent, MemoryContext memory);

/* Moves a pointer within the result to the same place in a copy of it; NULL stays. */
static inline void
recent_document_move(const RecentDocument *recent, void *copy, void *pointer)
{
	char	  **moved = pointer;

	if (*moved != NULL)
		*moved = (char *) copy + (*moved - recent->origin);
}

#endif							/* APIKEYS_MODEL_RECENT_DOCUMENTS_H */
