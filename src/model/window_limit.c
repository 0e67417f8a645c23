/*-------------------------------------------------------------------------
 *
 * window_limit.c
 *	  A limit on what passes within a time, as the rate-limit document has it.
 *
 * SPDX-License-Identifier: PostgreSQL
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

#include "base/arguments.h"
#include "model/cost.h"
#include "model/window.h"
#include "model/window_limit.h"

#define NAME_MAX_CHARS		255

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

/* Raises 22023 for a window as a whole. */
void
window_limit_raise(const char *detail)
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

	if (json->type == jbvNumeric && amount_sign(json->val.numeric) > 0 &&
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
		window_limit_raise("A window counts one of requests, tokens and cost.");

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
	} units[] = {
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

/*
 * Parses an element of the array of windows; its name and patterns are palloc'd.
 * Raises 22023.
 */
void
window_limit_parse(const JsonbValue *element, WindowLimit *limit)
{
	ParsedWindow window = {0};

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		window_limit_raise("Each element must be an object.");
	json_document_visit(&window_document, JsonbValueToJsonb(unconstify(JsonbValue *, element)),
						parse_window_member, &window);
	if (window.limit.length == 0)
		window_limit_raise("Each window needs \"per\".");
	if (window.limit.max == 0)
		window_limit_raise("A window counts one of requests, tokens and cost.");

	*limit = window.limit;
	if (limit->name == NULL)
		limit->name = default_name(&window);
	limit->id = window_id(limit);
}
