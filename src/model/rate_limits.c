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

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "model/cost.h"
#include "model/json_document.h"
#include "model/preset.h"
#include "model/rate_limits.h"
#include "model/window.h"

#define MAX_ARRAY_WINDOWS	8
#define NAME_MAX_CHARS		255

/* The windows that have a member of their own; max is the document's. */
static const WindowLimit member_windows[] = {
	{1, "requests_per_minute", WINDOW_REQUESTS, USECS_PER_MINUTE},
	{2, "tokens_per_minute", WINDOW_TOKENS, USECS_PER_MINUTE},
	{3, "requests_per_day", WINDOW_REQUESTS, USECS_PER_DAY},
	{4, "tokens_per_day", WINDOW_TOKENS, USECS_PER_DAY},
};

enum
{
	MEMBER_CONCURRENT = lengthof(member_windows), /* after the windows */
	MEMBER_WINDOWS,
	NMEMBERS
};

static const JsonDocumentMember rate_limit_members[NMEMBERS] = {
	{"requests_per_minute"},
	{"tokens_per_minute"},
	{"requests_per_day"},
	{"tokens_per_day"},
	[MEMBER_CONCURRENT] = {RATE_CONCURRENT_NAME},
	[MEMBER_WINDOWS] = {"windows"},
};

static const JsonDocument rate_limits_document = {
	.name = "rate_limits",
	.members = rate_limit_members,
	.nmembers = NMEMBERS,
};

/* The members of a window that name a unit come first, in the order of units. */
enum
{
	WINDOW_PER = WINDOW_NUNITS,
	WINDOW_NAME,
	WINDOW_MODELS,
	WINDOW_ENDPOINTS,
	NWINDOW_MEMBERS
};

static const JsonDocumentMember window_members[NWINDOW_MEMBERS] = {
	[WINDOW_REQUESTS] = {"requests"},
	[WINDOW_TOKENS] = {"tokens"},
	[WINDOW_COST] = {"cost"},
	[WINDOW_PER] = {"per"},
	[WINDOW_NAME] = {"name"},
	[WINDOW_MODELS] = {"models"},
	[WINDOW_ENDPOINTS] = {"endpoints"},
};

static const JsonDocument window_document = {
	.name = "a window of rate_limits",
	.members = window_members,
	.nmembers = NWINDOW_MEMBERS,
};

/* What is known of a window while its members are read. */
typedef struct ParsedWindow
{
	WindowLimit limit;
	char	   *first_model;	/* for its name; NULL: none */
	char	   *first_endpoint;
} ParsedWindow;

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

/* Raises 22023 for a window as a whole. */
pg_noreturn static void
raise_bad_window(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for \"windows\" in rate_limits"),
			 errdetail("%s", detail)));
}

/* ---------------------------------------------------- members of a window */

/* Returns a positive cost in billionths.  Raises 22023. */
static int64
parse_cost(const JsonDocumentMember *member, const JsonbValue *json)
{
	int64		cost = 0;

	if (json->type == jbvNumeric &&
		DatumGetBool(DirectFunctionCall2(numeric_le, NumericGetDatum(json->val.numeric),
										 NumericGetDatum(int64_to_numeric(COST_MAX)))))
		cost = cost_to_billionths(json->val.numeric, false);
	if (cost <= 0)
		json_document_raise_bad_value(&window_document, member,
									  "a number from 0.000000001 to 9000000000");
	return cost;
}

/* Sets the unit and the number of a window. */
static void
parse_unit(const JsonDocumentMember *member, const JsonbValue *value, WindowLimit *limit)
{
	if (limit->max != 0)
		raise_bad_window("A window counts one of requests, tokens and cost.");

	limit->unit = member - window_members;
	limit->max = limit->unit == WINDOW_COST ? parse_cost(member, value)
											: json_document_parse_integer(&window_document, member, value);
	if (limit->max == 0)
		json_document_raise_bad_value(&window_document, member, "a positive number");
}

/* Returns the length of a window.  A month counts as 30 days. */
static int64
parse_length(const JsonDocumentMember *member, const JsonbValue *value)
{
	const char *expected = "an interval of whole seconds from 1 second to 31 days";
	Interval   *interval;
	int64		length;

	if (value->type != jbvString)
		json_document_raise_bad_value(&window_document, member, expected);
	interval = DatumGetIntervalP(json_document_parse_string(&window_document, member, INTERVALOID, value));
	if (abs(interval->month) > 12 || abs(interval->day) > 400 ||
		interval->time > 400 * USECS_PER_DAY || interval->time < -400 * USECS_PER_DAY)
		json_document_raise_bad_value(&window_document, member, expected);

	length = (interval->month * INT64CONST(30) + interval->day) * USECS_PER_DAY + interval->time;
	if (length < USECS_PER_SEC || length > WINDOW_MAX_LENGTH || length % USECS_PER_SEC != 0)
		json_document_raise_bad_value(&window_document, member, expected);
	return length;
}

static char *
parse_name(const JsonDocumentMember *member, const JsonbValue *value)
{
	if (value->type != jbvString || value->val.string.len == 0 ||
		pg_mbstrlen_with_len(value->val.string.val, value->val.string.len) > NAME_MAX_CHARS)
		json_document_raise_bad_value(&window_document, member, "a string of 1 to 255 characters");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* Returns the first element of a list that is not empty, and whether it has more. */
static char *
first_pattern(const JsonbValue *list)
{
	JsonbValue *first = getIthJsonbValueFromContainer(list->val.binary.data, 0);

	return psprintf("%s%s", pnstrdup(first->val.string.val, first->val.string.len),
					JsonContainerSize(list->val.binary.data) > 1 ? ", ..." : "");
}

/* Parses the patterns of a window; first is for its name. */
static Patterns *
parse_patterns(const JsonDocumentMember *member, const JsonbValue *value, char **first)
{
	Patterns   *patterns = patterns_parse(&window_document, member, value);

	if (patterns != NULL)
		*first = first_pattern(value);
	return patterns;
}

/* Visitor: sets what a member says of the ParsedWindow at result. */
static void
parse_window_member(const JsonDocument *document, const JsonDocumentMember *member,
					JsonbValue *value, void *result)
{
	ParsedWindow *window = result;

	if (value->type == jbvNull)
		return;

	switch (member - window_members)
	{
		case WINDOW_PER:
			window->limit.length = parse_length(member, value);
			break;
		case WINDOW_NAME:
			window->limit.name = parse_name(member, value);
			break;
		case WINDOW_MODELS:
			window->limit.models = parse_patterns(member, value, &window->first_model);
			break;
		case WINDOW_ENDPOINTS:
			window->limit.endpoints = parse_patterns(member, value, &window->first_endpoint);
			break;
		default:
			parse_unit(member, value, &window->limit);
			break;
	}
}

/* ------------------------------------------------------------ a window */

/* Appends a length in the largest unit of which it is a multiple. */
static void
append_length(StringInfo name, int64 length)
{
	static const struct
	{
		int64		length;
		const char *name;
	}			units[] = {
		{USECS_PER_DAY, "day"},
		{USECS_PER_HOUR, "hour"},
		{USECS_PER_MINUTE, "minute"},
		{USECS_PER_SEC, "second"},
	};
	int			u = 0;

	while (length % units[u].length != 0)
		u++;
	if (length == units[u].length)
		appendStringInfoString(name, units[u].name);
	else
		appendStringInfo(name, INT64_FORMAT " %ss", length / units[u].length, units[u].name);
}

/*
 * Returns the name of a window that has none: what it counts, without the
 * number, as "tokens per hour for gpt-4*".
 */
static char *
default_name(const ParsedWindow *window)
{
	StringInfoData name;

	initStringInfo(&name);
	appendStringInfo(&name, "%s per ", window_members[window->limit.unit].name);
	append_length(&name, window->limit.length);
	if (window->first_model != NULL)
		appendStringInfo(&name, " for %s", window->first_model);
	if (window->first_endpoint != NULL)
		appendStringInfo(&name, " at %s", window->first_endpoint);
	return name.data;
}

/* Returns the id of a window of the array: none of a member's. */
static uint64
window_id(const WindowLimit *limit)
{
	return hash_bytes_extended((const unsigned char *) limit->name, strlen(limit->name),
							   limit->length + limit->unit) |
		   UINT64CONST(1) << 63;
}

static void
check_name_is_new(const RateLimits *limits, const char *name)
{
	bool		known = strcmp(name, RATE_CONCURRENT_NAME) == 0;

	for (size_t i = 0; i < lengthof(member_windows); i++)
		known |= strcmp(name, member_windows[i].name) == 0;
	for (int i = 0; i < limits->nwindows; i++)
		known |= strcmp(name, limits->windows[i].name) == 0;
	if (known)
		raise_bad_window("Each window needs a name of its own.");
}

/* Adds a window of the array. */
static void
add_window(const JsonbValue *element, RateLimits *limits)
{
	ParsedWindow window = {0};

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		raise_bad_window("Each element must be an object.");
	json_document_visit(&window_document, JsonbValueToJsonb(unconstify(JsonbValue *, element)),
						parse_window_member, &window);
	if (window.limit.length == 0)
		raise_bad_window("Each window needs \"per\".");
	if (window.limit.max == 0)
		raise_bad_window("A window counts one of requests, tokens and cost.");

	if (window.limit.name == NULL)
		window.limit.name = default_name(&window);
	check_name_is_new(limits, window.limit.name);
	window.limit.id = window_id(&window.limit);
	limits->windows[limits->nwindows++] = window.limit;
}

/* ------------------------------------------------------------ the document */

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
		if (token == WJB_ELEM)
			add_window(&element, limits);
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

/* Copies limits into one chunk, which a pfree() frees. */
static RateLimits *
copy_limits(const RateLimits *limits, MemoryContext memory)
{
	Size		size = MAXALIGN(sizeof(RateLimits));
	RateLimits *copy;
	char	   *free;

	for (int i = 0; i < limits->nwindows; i++)
	{
		const WindowLimit *limit = &limits->windows[i];

		size += part_size(limit->name, strlen(limit->name) + 1) +
				part_size(limit->models, patterns_size(limit->models)) +
				part_size(limit->endpoints, patterns_size(limit->endpoints));
	}

	copy = MemoryContextAlloc(memory, size);
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

/*
 * Parses a rate-limit document; NULL if nothing is limited.  The result is one
 * chunk in the given context; garbage is left in the current one.  Raises 22023.
 */
RateLimits *
rate_limits_parse(Jsonb *document, MemoryContext memory)
{
	ParsedDocument parsed = {0};
	RateLimits	limits = {0};

	if (JB_ROOT_IS_OBJECT(document) && JB_ROOT_COUNT(document) == 0)
		return NULL;

	json_document_visit(&rate_limits_document, document, parse_member, &parsed);
	limits.max_concurrent = parsed.numbers[MEMBER_CONCURRENT];
	add_windows(&parsed, &limits);

	return limits.nwindows > 0 || limits.max_concurrent > 0 ? copy_limits(&limits, memory) : NULL;
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
