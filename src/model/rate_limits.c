/*-------------------------------------------------------------------------
 *
 * rate_limits.c
 *	  The rate-limit document of a key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * All members are optional; a JSON null means the same as absence, since
 * clients write absent options that way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "model/json_document.h"
#include "model/preset.h"
#include "model/rate_limits.h"

/* Indexed like RateLimits. */
static const JsonDocumentMember rate_limit_members[] = {
	[WINDOW_REQUESTS_MINUTE] = {"requests_per_minute"},
	[WINDOW_TOKENS_MINUTE] = {"tokens_per_minute"},
	[WINDOW_REQUESTS_DAY] = {"requests_per_day"},
	[WINDOW_TOKENS_DAY] = {"tokens_per_day"},
	[RATE_SLOTS] = {"max_concurrent_requests"},
};

StaticAssertDecl(lengthof(rate_limit_members) == RATE_NLIMITS,
				 "each limit needs a member");

static const JsonDocument rate_limits_document = {
	.name = "rate_limits",
	.members = rate_limit_members,
	.nmembers = lengthof(rate_limit_members),
};

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

PG_FUNCTION_INFO_V1(apikey_rate_limits_preset);

/* Visitor: sets the limit of the RateLimits at result that member names. */
static void
parse_member(const JsonDocument *document, const JsonDocumentMember *member,
			 JsonbValue *value, void *result)
{
	RateLimits *limits = result;

	if (value->type != jbvNull)
		limits->max[member - rate_limit_members] =
			json_document_parse_integer(document, member, value);
}

/* Parses a rate-limit document.  Raises 22023. */
void
rate_limits_parse(Jsonb *document, RateLimits *limits)
{
	memset(limits, 0, sizeof(RateLimits));
	json_document_visit(&rate_limits_document, document, parse_member, limits);
}

/* Is any window limited? */
bool
rate_limits_have_windows(const RateLimits *limits)
{
	for (int kind = 0; kind < WINDOW_NKINDS; kind++)
	{
		if (limits->max[kind] > 0)
			return true;
	}

	return false;
}

/* Is anything limited? */
bool
rate_limits_any(const RateLimits *limits)
{
	return rate_limits_have_windows(limits) || limits->max[RATE_SLOTS] > 0;
}

/* Returns the name of a limit in the document. */
const char *
rate_limits_name(int limit)
{
	Assert(limit >= 0 && limit < RATE_NLIMITS);
	return rate_limit_members[limit].name;
}

/* apikey_rate_limits_preset(name text): jsonb */
Datum
apikey_rate_limits_preset(PG_FUNCTION_ARGS)
{
	return preset_find(rate_limits_presets, lengthof(rate_limits_presets),
					   PG_GETARG_DATUM(0));
}
