/*-------------------------------------------------------------------------
 *
 * patterns.c
 *	  Lists of names, or of what names begin with.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "model/patterns.h"

#define PATTERN_MAX_LEN		255		/* fits a byte */
#define PATTERNS_MAX		1000	/* in a list */
#define PATTERN_WHOLE		'='
#define PATTERN_PREFIX		'*'

StaticAssertDecl(PATTERN_MAX_LEN <= PG_UINT8_MAX, "the length of a pattern is a byte");

/* A pattern in a list. */
typedef struct Pattern
{
	bool		is_prefix;
	Size		len;
	const char *data;
} Pattern;

/* Appends a pattern of at least one byte to a list. */
static void
add_pattern(StringInfo list, const char *pattern, int len)
{
	bool		is_prefix;

	Assert(len >= 1 && len <= PATTERN_MAX_LEN);
	is_prefix = (pattern[len - 1] == '*');
	if (is_prefix)
		len--;
	appendStringInfoChar(list, is_prefix ? PATTERN_PREFIX : PATTERN_WHOLE);
	appendStringInfoChar(list, (char) len);
	appendBinaryStringInfo(list, pattern, len);
}

/*
 * Parses an array of patterns, the value of a member; an empty list is the same
 * as no list, NULL.  palloc'd.  Raises 22023.
 */
Patterns *
patterns_parse(const JsonDocument *document, const JsonDocumentMember *member, const JsonbValue *value)
{
	const char *expected = "an array of strings of 1 to 255 bytes";
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	StringInfoData list;
	Patterns   *patterns;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		json_document_raise_bad_value(document, member, expected);
	if (JsonContainerSize(value->val.binary.data) > PATTERNS_MAX)
		json_document_raise_bad_value(document, member,
									  psprintf("an array of at most %d strings", PATTERNS_MAX));

	initStringInfo(&list);
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvString || element.val.string.len < 1 ||
			element.val.string.len > PATTERN_MAX_LEN)
			json_document_raise_bad_value(document, member, expected);
		add_pattern(&list, element.val.string.val, element.val.string.len);
	}

	patterns = list.len > 0 ? cstring_to_text_with_len(list.data, list.len) : NULL;
	pfree(list.data);
	return patterns;
}

/* Does a pattern of the list match the subject?  NULL is an empty list. */
bool
patterns_match(const Patterns *patterns, const text *subject)
{
	const char *subject_data = VARDATA_ANY(subject);
	Size		subject_len = VARSIZE_ANY_EXHDR(subject);
	const char *next;
	const char *end;

	if (patterns == NULL)
		return false;

	Assert(VARATT_IS_4B_U(patterns));
	next = VARDATA(patterns);
	end = next + VARSIZE(patterns) - VARHDRSZ;
	while (next < end)
	{
		bool		is_prefix = (*next++ == PATTERN_PREFIX);
		Size		len = (unsigned char) *next++;

		if ((is_prefix ? subject_len >= len : subject_len == len) &&
			memcmp(next, subject_data, len) == 0)
			return true;
		next += len;
	}
	Assert(next == end);

	return false;
}

/* As patterns_match(), but without a list everything is allowed. */
bool
patterns_allow(const Patterns *patterns, const text *subject)
{
	return patterns == NULL || patterns_match(patterns, subject);
}

/* Reads the pattern at *next, and moves on to the one after it. */
static bool
next_pattern(const char **next, const char *end, Pattern *pattern)
{
	if (*next == end)
		return false;

	pattern->is_prefix = ((*next)[0] == PATTERN_PREFIX);
	pattern->len = (unsigned char) (*next)[1];
	pattern->data = *next + 2;
	*next = pattern->data + pattern->len;
	return true;
}

/* Does a pattern of the list match all that another pattern matches? */
static bool
covers_pattern(const Patterns *patterns, const Pattern *other)
{
	const char *next = VARDATA(patterns);
	const char *end = next + VARSIZE(patterns) - VARHDRSZ;
	Pattern		pattern;

	while (next_pattern(&next, end, &pattern))
	{
		if ((pattern.is_prefix ? other->len >= pattern.len
							   : !other->is_prefix && other->len == pattern.len) &&
			memcmp(pattern.data, other->data, pattern.len) == 0)
			return true;
	}
	return false;
}

/*
 * Does a list match all that another one matches?  Neither may be NULL.  Names
 * are of any kind and length, so what a prefix matches is never covered by
 * several patterns together.
 */
bool
patterns_cover(const Patterns *patterns, const Patterns *others)
{
	const char *next = VARDATA(others);
	const char *end = next + VARSIZE(others) - VARHDRSZ;
	Pattern		other;

	Assert(VARATT_IS_4B_U(patterns) && VARATT_IS_4B_U(others));
	while (next_pattern(&next, end, &other))
	{
		CHECK_FOR_INTERRUPTS();
		if (!covers_pattern(patterns, &other))
			return false;
	}
	return true;
}

/* Does a list match every name? */
bool
patterns_cover_all(const Patterns *patterns)
{
	return covers_pattern(patterns, &(Pattern){.is_prefix = true, .data = ""});
}

/* Is a pattern in a list? */
static bool
has_pattern(const Patterns *patterns, const Pattern *pattern)
{
	const char *next = VARDATA(patterns);
	const char *end = next + VARSIZE(patterns) - VARHDRSZ;
	Pattern		other;

	while (next_pattern(&next, end, &other))
	{
		if (other.is_prefix == pattern->is_prefix && other.len == pattern->len &&
			memcmp(other.data, pattern->data, other.len) == 0)
			return true;
	}
	return false;
}

/*
 * Appends the patterns of a list that another list covers, but for those that it
 * has, too, unless equal_ones is set.  n counts up to PATTERNS_MAX.
 */
static void
append_covered(StringInfo result, const Patterns *patterns, const Patterns *others, bool equal_ones, int *n)
{
	const char *next = VARDATA(patterns);
	const char *end = next + VARSIZE(patterns) - VARHDRSZ;
	Pattern		pattern;

	while (*n < PATTERNS_MAX && next_pattern(&next, end, &pattern))
	{
		CHECK_FOR_INTERRUPTS();
		if (!covers_pattern(others, &pattern) || (!equal_ones && has_pattern(others, &pattern)))
			continue;
		appendStringInfoChar(result, pattern.is_prefix ? PATTERN_PREFIX : PATTERN_WHOLE);
		appendStringInfoChar(result, (char) pattern.len);
		appendBinaryStringInfo(result, pattern.data, pattern.len);
		(*n)++;
	}
}

/*
 * Returns a list that matches what both match, palloc'd; NULL if that is nothing.
 * Of two patterns, what both match is the narrower one, or nothing.  A list has an
 * end: more patterns than that are left out.
 */
Patterns *
patterns_common(const Patterns *a, const Patterns *b)
{
	StringInfoData list;
	int			n = 0;

	Assert(VARATT_IS_4B_U(a) && VARATT_IS_4B_U(b));
	initStringInfo(&list);
	append_covered(&list, a, b, true, &n);
	append_covered(&list, b, a, false, &n);
	return n > 0 ? cstring_to_text_with_len(list.data, list.len) : NULL;
}

/* Adds a list to a JSON object as a member of this name; nothing for NULL. */
void
patterns_push(JsonbParseState **state, const char *name, const Patterns *patterns)
{
	const char *next;
	const char *end;
	Pattern		pattern;
	JsonbValue	value = {.type = jbvString};

	if (patterns == NULL)
		return;

	json_document_push_key(state, name);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	next = VARDATA(patterns);
	end = next + VARSIZE(patterns) - VARHDRSZ;
	while (next_pattern(&next, end, &pattern))
	{
		value.val.string.val = psprintf("%.*s%s", (int) pattern.len, pattern.data, pattern.is_prefix ? "*" : "");
		value.val.string.len = strlen(value.val.string.val);
		pushJsonbValue(state, WJB_ELEM, &value);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}
