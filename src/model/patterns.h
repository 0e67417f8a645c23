/*-------------------------------------------------------------------------
 *
 * patterns.h
 *	  Lists of names, or of what names begin with.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_PATTERNS_H
#define APIKEYS_MODEL_PATTERNS_H

#include "model/json_document.h"

/*
 * A list of patterns, in a layout that is fast to read: for each a byte that
 * says whether it is a prefix, a byte with its length, and its text without
 * the asterisk.
 */
typedef bytea Patterns;

extern Patterns *patterns_parse(const JsonDocument *document, const JsonDocumentMember *member,
								const JsonbValue *value);
extern bool patterns_match(const Patterns *patterns, const text *subject);
extern bool patterns_allow(const Patterns *patterns, const text *subject);
extern bool patterns_cover(const Patterns *patterns, const Patterns *others);
extern bool patterns_cover_all(const Patterns *patterns);
extern Patterns *patterns_common(const Patterns *a, const Patterns *b);
extern void patterns_push(JsonbParseState **state, const char *name, const Patterns *patterns);

#endif							/* APIKEYS_MODEL_PATTERNS_H */
