/*-------------------------------------------------------------------------
 *
 * rate_limits.c
 *	  The rate-limit document of a key or a budget.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * All members are optional; a JSON null means the same as absence, since
 * clients write absent options that way.  The members that limit a minute or a
 * day are windows like those of the array: only their names are given.
 *
 * What a window has counted is found by the id of its limit.  The id depends on
 * nothing but the limit's own name, unit and length, so that a change of its
 * number, of another limit, or of their order resets nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "model/json_document.h"
#include "model/preset.h"
#include "model/rate_limits.h"
#include "model/recent_documents.h"
#include "model/window.h"

#define MAX_ARRAY_WINDOWS	8

/* The windows that have a member of their own; max is the document's. */
static const WindowLimit member_windows[] = {
	{.id = 1, .name = "requests_per_minute", .unit = WINDOW_REQUESTS, .length = USECS_PER_MINUTE},
	{.id = 2, .name = "tokens_per_minute", .unit = WINDOW_TOKENS, .length = USECS_PER_MINUTE},
	{.id = 3, .name = "requests_per_day", .unit = WINDOW_REQUESTS, .length = USECS_PER_DAY},
	{.id = 4, .name = "tokens_per_day", .unit = WINDOW_TOKENS, .length = USECS_PER_DAY},
};

enum
{
	MEMBER_CONCURRENT = lengthof(member_windows), /* after the windows */
	MEMBER_WINDOWS,
	NMEMBERS
};

static const JsonDocumentMember rate_limit_members[NMEMBERS] = {
	[0] = {"requests_per_minute"},
	[1] = {"tokens_per_minute"},
	[2] = {"requests_per_day"},
	[3] = {"tokens_per_day"},
	[MEMBER_CONCURRENT] = {RATE_CONCURRENT_NAME},
	[MEMBER_WINDOWS] = {"windows"},
};

static const JsonDocument rate_limits_document = {
	.name = "rate_limits",
	.members = rate_limit_members,
	.nmembers = NMEMBERS,
};

/* A document, whose members come in any order. */
typedef struct ParsedDocument
{
	int64		numbers[MEMBER_WINDOWS];
	RateLimits	array;			/* of its windows */
} ParsedDocument;

static const Preset rate_limits_presets[] = {
	{"unlimited", "{}"},
	{"standard",
		"{\"requests_per_minute\": 60, \"tokens_per_minute\": 100000,"
		" \"requests_per_day\": 10000, \"tokens_per_day\": 1000000,"
		" \"max_concurrent_requests\": 10}"},
	{"premium",
		"{\"requests_per_minute\": 600, \"tokens_per_minute\": 1000000,"
		" \"requests_per_day\": 100000, \"tokens_per_day\": 10000000,"
		" \"max_concurrent_requests\": 100}"},
};

StaticAssertDecl(lengthof(member_windows) + MAX_ARRAY_WINDOWS == RATE_MAX_WINDOWS,
				 "a RateLimits has space for all windows");
StaticAssertDecl(RATE_MAX_WINDOWS <= sizeof(WindowSet) * BITS_PER_BYTE,
				 "a set has a bit for each window");

PG_FUNCTION_INFO_V1(apikey_rate_limits_preset);

/* Raises 22023 for the name of a window that another limit has. */
static void
check_name_is_new(const RateLimits *limits, const char *name)
{
	bool		known = strcmp(name, RATE_CONCURRENT_NAME) == 0;

	for (size_t i = 0; i < lengthof(member_windows); i++)
		known |= strcmp(name, member_windows[i].name) == 0;
	for (int i = 0; i < limits->nwindows; i++)
		known |= strcmp(name, limits->windows[i].name) == 0;
	if (known)
		window_limit_raise("Each window needs a name of its own.");
}

/* Adds the windows of the array. */
static void
parse_windows(const JsonDocumentMember *member, const JsonbValue *value, RateLimits *limits)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) ||
		JsonContainerSize(value->val.binary.data) > MAX_ARRAY_WINDOWS)
		json_document_raise_bad_value(&rate_limits_document, member,
									  psprintf("an array of at most %d objects", MAX_ARRAY_WINDOWS));

	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		window_limit_parse(&element, &limits->windows[limits->nwindows]);
		check_name_is_new(limits, limits->windows[limits->nwindows].name);
		limits->nwindows++;
	}
}

/* Visitor: sets what a member says of the ParsedDocument at result. */
static void
parse_member(const JsonDocument *document, const JsonDocumentMember *member,
			 JsonbValue *value, void *result)
{
	ParsedDocument *parsed = result;
	int			which = member - rate_limit_members;

	if (value->type == jbvNull)
		return;
	if (which == MEMBER_WINDOWS)
		parse_windows(member, value, &parsed->array);
	else
		parsed->numbers[which] = json_document_parse_integer(document, member, value);
}

/* Sets *part to a copy of size bytes at *free, and moves that behind it. */
static void
move_part(void *part, Size size, char **free)
{
	void	  **pointer = part;

	if (*pointer == NULL)
		return;
	*pointer = memcpy(*free, *pointer, size);
	*free += MAXALIGN(size);
}

/* How much space a part needs. */
static Size
part_size(const void *part, Size size)
{
	return part != NULL ? MAXALIGN(size) : 0;
}

static Size
patterns_size(const Patterns *patterns)
{
	return patterns != NULL ? VARSIZE(patterns) : 0;
}

/* How many bytes limits have, with all their parts. */
static Size
limits_size(const RateLimits *limits)
{
	Size		size = MAXALIGN(sizeof(RateLimits));

	for (int i = 0; i < limits->nwindows; i++)
	{
		const WindowLimit *limit = &limits->windows[i];

		size += part_size(limit->name, strlen(limit->name) + 1) +
				part_size(limit->models, patterns_size(limit->models)) +
				part_size(limit->endpoints, patterns_size(limit->endpoints));
	}
	return size;
}

/* Copies limits into one chunk, which a pfree() frees. */
static RateLimits *
copy_limits(const RateLimits *limits, MemoryContext memory)
{
	Size		size = limits_size(limits);
	RateLimits *copy = MemoryContextAlloc(memory, size);
	char	   *free;

	*copy = *limits;
	free = (char *) copy + MAXALIGN(sizeof(RateLimits));
	for (int i = 0; i < copy->nwindows; i++)
	{
		WindowLimit *limit = &copy->windows[i];

		move_part(&limit->name, strlen(limit->name) + 1, &free);
		move_part(&limit->models, patterns_size(limit->models), &free);
		move_part(&limit->endpoints, patterns_size(limit->endpoints), &free);
	}
	Assert(free == (char *) copy + size);

	return copy;
}

/* Copies limits that were parsed before, likewise. */
static RateLimits *
copy_recent(const RecentDocument *recent, MemoryContext memory)
{
	RateLimits *copy = recent_document_copy(recent, memory);

	for (int i = 0; i < copy->nwindows; i++)
	{
		recent_document_move(recent, copy, &copy->windows[i].name);
		recent_document_move(recent, copy, &copy->windows[i].models);
		recent_document_move(recent, copy, &copy->windows[i].endpoints);
	}
	return copy;
}

/* Adds the windows of the members that limit something, and those of the array. */
static void
add_windows(const ParsedDocument *parsed, RateLimits *limits)
{
	for (size_t i = 0; i < lengthof(member_windows); i++)
	{
		WindowLimit *limit = &limits->windows[limits->nwindows];

		if (parsed->numbers[i] == 0)
			continue;
		*limit = member_windows[i];
		limit->max = parsed->numbers[i];
		limits->nwindows++;
	}
	for (int i = 0; i < parsed->array.nwindows; i++)
		limits->windows[limits->nwindows++] = parsed->array.windows[i];
}

/* Parses a document into one chunk, and remembers it; NULL if nothing is limited. */
static RateLimits *
parse(Jsonb *document, MemoryContext memory, RecentDocuments *recent)
{
	ParsedDocument parsed = {0};
	RateLimits	limits = {0};
	RateLimits *result;

	json_document_visit(&rate_limits_document, document, parse_member, &parsed);
	limits.max_concurrent = parsed.numbers[MEMBER_CONCURRENT];
	add_windows(&parsed, &limits);
	if (limits.nwindows == 0 && limits.max_concurrent == 0)
		return NULL;

	result = copy_limits(&limits, memory);
	recent_documents_add(recent, document, NULL, result, limits_size(&limits));
	return result;
}

/*
 * Parses a rate-limit document; NULL if nothing is limited.  The result is one
 * chunk in the given context; garbage is left in the current one.  Raises 22023.
 */
RateLimits *
rate_limits_parse(Jsonb *document, MemoryContext memory)
{
	static RecentDocuments recent;
	const RecentDocument *known;

	if (JB_ROOT_IS_OBJECT(document) && JB_ROOT_COUNT(document) == 0)
		return NULL;
	known = recent_documents_find(&recent, document, NULL);
	return known != NULL ? copy_recent(known, memory) : parse(document, memory, &recent);
}

static bool
list_matches(const Patterns *patterns, const text *subject)
{
	return patterns == NULL || (subject != NULL && patterns_match(patterns, subject));
}

/*
 * Returns the windows that count a request: one with patterns only if the
 * request names what they match.
 */
WindowSet
rate_limits_match(const RateLimits *limits, const text *model, const text *endpoint)
{
	WindowSet	matching = 0;

	for (int i = 0; i < limits->nwindows; i++)
	{
		if (list_matches(limits->windows[i].models, model) &&
			list_matches(limits->windows[i].endpoints, endpoint))
			matching |= 1 << i;
	}

	return matching;
}

/* apikey_rate_limits_preset(name text): jsonb */
Datum
apikey_rate_limits_preset(PG_FUNCTION_ARGS)
{
	return preset_find(rate_limits_presets, lengthof(rate_limits_presets),
					   PG_GETARG_DATUM(0));
}
