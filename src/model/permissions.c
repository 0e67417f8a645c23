/*-------------------------------------------------------------------------
 *
 * permissions.c
 *	  The permissions and rate-limit documents of a key.
 *
 * Both are jsonb objects whose members are all optional; a JSON null is the
 * same as absence, since clients write absent options that way.  One parser
 * checks a document against its table of members and fills the struct.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "base/json_document.h"
#include "model/permissions.h"

#define PATTERN_MAX_LEN		255		/* fits a byte */
#define PATTERN_WHOLE		'='
#define PATTERN_PREFIX		'*'

/* 2^53 - 1: the largest that every reader of JSON keeps exact */
#define INTEGER_MAX			INT64CONST(9007199254740991)
#define INTEGER_MAX_DIGITS	16

typedef enum MemberType
{
	MEMBER_INTEGER,				/* int64 */
	MEMBER_BOOLEAN,				/* bool */
	MEMBER_PATTERNS				/* Patterns * */
} MemberType;

static const JsonDocumentMember permission_members[] = {
	{"allowed_models", MEMBER_PATTERNS, offsetof(Permissions, allowed_models)},
	{"allowed_endpoints", MEMBER_PATTERNS, offsetof(Permissions, allowed_endpoints)},
	{"max_tokens_per_request", MEMBER_INTEGER, offsetof(Permissions, max_tokens_per_request)},
	{"is_admin", MEMBER_BOOLEAN, offsetof(Permissions, is_admin)},
	{"custom_permissions", MEMBER_PATTERNS, offsetof(Permissions, custom_permissions)},
};

static const JsonDocument permissions_document = {
	.name = "permissions",
	.members = permission_members,
	.nmembers = lengthof(permission_members),
};

/* In the order of RateLimits. */
static const JsonDocumentMember rate_limit_members[] = {
	{"requests_per_minute", MEMBER_INTEGER, offsetof(RateLimits, max[WINDOW_REQUESTS_MINUTE])},
	{"tokens_per_minute", MEMBER_INTEGER, offsetof(RateLimits, max[WINDOW_TOKENS_MINUTE])},
	{"requests_per_day", MEMBER_INTEGER, offsetof(RateLimits, max[WINDOW_REQUESTS_DAY])},
	{"tokens_per_day", MEMBER_INTEGER, offsetof(RateLimits, max[WINDOW_TOKENS_DAY])},
	{"max_concurrent_requests", MEMBER_INTEGER, offsetof(RateLimits, max[RATE_SLOTS])},
};

static const JsonDocument rate_limits_document = {
	.name = "rate_limits",
	.members = rate_limit_members,
	.nmembers = lengthof(rate_limit_members),
};

typedef struct Preset
{
	const char *name;
	const char *document;
} Preset;

static const Preset permissions_presets[] = {
	{"full_access", "{\"allowed_models\": [\"*\"], \"allowed_endpoints\": [\"*\"]}"},
	{"admin", "{\"allowed_models\": [\"*\"], \"allowed_endpoints\": [\"*\"], \"is_admin\": true}"},
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

PG_FUNCTION_INFO_V1(apikey_permissions_preset);
PG_FUNCTION_INFO_V1(apikey_rate_limits_preset);
PG_FUNCTION_INFO_V1(apikey_model_allowed);
PG_FUNCTION_INFO_V1(apikey_endpoint_allowed);

static int64
parse_integer(const JsonDocument *document, const JsonDocumentMember *member, const JsonbValue *value)
{
	char	   *digits = "";
	int64		result = 0;

	if (value->type == jbvNumeric)
		digits = DatumGetCString(DirectFunctionCall1(numeric_out,
													 NumericGetDatum(value->val.numeric)));

	if (strlen(digits) < 1 || strlen(digits) > INTEGER_MAX_DIGITS ||
		strspn(digits, "0123456789") != strlen(digits) ||
		(result = strtoll(digits, NULL, 10)) > INTEGER_MAX)
		json_document_raise_bad_value(document, member, "a whole number from 0 to 9007199254740991");

	return result;
}

/* Adds a pattern, of at least one byte, to a list. */
static void
add_pattern(StringInfo list, const char *pattern, int len)
{
	bool		is_prefix = (pattern[len - 1] == '*');

	if (is_prefix)
		len--;
	appendStringInfoChar(list, is_prefix ? PATTERN_PREFIX : PATTERN_WHOLE);
	appendStringInfoChar(list, (char) len);
	appendBinaryStringInfo(list, pattern, len);
}

static Patterns *
parse_patterns(const JsonDocument *document, const JsonDocumentMember *member, const JsonbValue *value)
{
	const char *expected = "an array of strings of 1 to 255 bytes";
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	StringInfoData list;
	Patterns   *patterns;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		json_document_raise_bad_value(document, member, expected);

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

	/* An empty list is none. */
	patterns = list.len > 0 ? cstring_to_text_with_len(list.data, list.len) : NULL;
	pfree(list.data);
	return patterns;
}

/* Visitor: fills the field of the struct at result that member describes. */
static void
parse_member(const JsonDocument *document, const JsonDocumentMember *member,
			 JsonbValue *value, void *result)
{
	void	   *field = (char *) result + member->offset;

	if (value->type == jbvNull)
		return;

	switch ((MemberType) member->type)
	{
		case MEMBER_INTEGER:
			*(int64 *) field = parse_integer(document, member, value);
			break;
		case MEMBER_BOOLEAN:
			if (value->type != jbvBool)
				json_document_raise_bad_value(document, member, "true or false");
			*(bool *) field = value->val.boolean;
			break;
		case MEMBER_PATTERNS:
			*(Patterns **) field = parse_patterns(document, member, value);
			break;
	}
}

/* Parses a permissions document; lists are palloc'd.  Raises 22023. */
void
permissions_parse(Jsonb *document, Permissions *permissions)
{
	memset(permissions, 0, sizeof(Permissions));
	json_document_visit(&permissions_document, document, parse_member, permissions);
}

/* Parses a rate-limit document.  Raises 22023. */
void
rate_limits_parse(Jsonb *document, RateLimits *limits)
{
	memset(limits, 0, sizeof(RateLimits));
	json_document_visit(&rate_limits_document, document, parse_member, limits);
}

/* Is there a limit on what passes in a window? */
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

/* Is there any limit? */
bool
rate_limits_any(const RateLimits *limits)
{
	return rate_limits_have_windows(limits) || limits->max[RATE_SLOTS] > 0;
}

/* The name of a limit in the document. */
const char *
rate_limits_name(int limit)
{
	return rate_limit_members[limit].name;
}

/* Does a pattern of the list, if any, match the subject? */
bool
patterns_match(const Patterns *patterns, const text *subject)
{
	const char *subject_data = VARDATA_ANY(subject);
	Size		subject_len = VARSIZE_ANY_EXHDR(subject);
	const char *next;
	const char *end;

	if (patterns == NULL)
		return false;

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

	return false;
}

/* As patterns_match(), but without a list all is allowed. */
bool
patterns_allow(const Patterns *patterns, const text *subject)
{
	return patterns == NULL || patterns_match(patterns, subject);
}

/* Returns the document of the preset with this name.  Raises 22023. */
static Datum
preset_document(const Preset *presets, int npresets, const text *name)
{
	StringInfoData known;

	initStringInfo(&known);
	for (int i = 0; i < npresets; i++)
	{
		const char *preset = presets[i].name;

		if (VARSIZE_ANY_EXHDR(name) == strlen(preset) &&
			memcmp(VARDATA_ANY(name), preset, strlen(preset)) == 0)
			return DirectFunctionCall1(jsonb_in, CStringGetDatum(presets[i].document));
		appendStringInfo(&known, "%s%s", i > 0 ? ", " : "", preset);
	}

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown preset \"%s\"", text_to_cstring(name)),
			 errhint("Presets are %s.", known.data)));
}

Datum
apikey_permissions_preset(PG_FUNCTION_ARGS)
{
	return preset_document(permissions_presets, lengthof(permissions_presets),
						   PG_GETARG_TEXT_PP(0));
}

Datum
apikey_rate_limits_preset(PG_FUNCTION_ARGS)
{
	return preset_document(rate_limits_presets, lengthof(rate_limits_presets),
						   PG_GETARG_TEXT_PP(0));
}

/* apikey_model_allowed(permissions jsonb, model text): boolean */
Datum
apikey_model_allowed(PG_FUNCTION_ARGS)
{
	Permissions permissions;

	permissions_parse(PG_GETARG_JSONB_P(0), &permissions);
	PG_RETURN_BOOL(patterns_allow(permissions.allowed_models, PG_GETARG_TEXT_PP(1)));
}

/* apikey_endpoint_allowed(permissions jsonb, endpoint text): boolean */
Datum
apikey_endpoint_allowed(PG_FUNCTION_ARGS)
{
	Permissions permissions;

	permissions_parse(PG_GETARG_JSONB_P(0), &permissions);
	PG_RETURN_BOOL(patterns_allow(permissions.allowed_endpoints, PG_GETARG_TEXT_PP(1)));
}
