/*-------------------------------------------------------------------------
 *
 * permissions.c
 *	  The permissions document of a key.
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
#include "utils/builtins.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "model/json_document.h"
#include "model/permissions.h"
#include "model/preset.h"

#define PATTERN_MAX_LEN		255		/* fits a byte */
#define PATTERNS_MAX		1000	/* in a list */
#define PATTERN_WHOLE		'='
#define PATTERN_PREFIX		'*'

StaticAssertDecl(PATTERN_MAX_LEN <= PG_UINT8_MAX, "the length of a pattern is a byte");

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

static const Preset permissions_presets[] = {
	{"full_access", "{\"allowed_models\": [\"*\"], \"allowed_endpoints\": [\"*\"]}"},
	{"admin", "{\"allowed_models\": [\"*\"], \"allowed_endpoints\": [\"*\"], \"is_admin\": true}"},
};

PG_FUNCTION_INFO_V1(apikey_permissions_preset);
PG_FUNCTION_INFO_V1(apikey_model_allowed);
PG_FUNCTION_INFO_V1(apikey_endpoint_allowed);

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

	/* An empty list is the same as no list. */
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
			*(int64 *) field = json_document_parse_integer(document, member, value);
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

/* apikey_permissions_preset(name text): jsonb */
Datum
apikey_permissions_preset(PG_FUNCTION_ARGS)
{
	return preset_find(permissions_presets, lengthof(permissions_presets),
					   PG_GETARG_DATUM(0));
}

/*
 * Parses the document in argument 0, and checks the name in argument 1.  Raises
 * 22023.
 */
static void
get_arguments(FunctionCallInfo fcinfo, const char *what, Permissions *permissions)
{
	json_document_check_size("permissions", PG_GETARG_DATUM(0), JSON_DOCUMENT_MAX_BYTES);
	check_size(what, PG_GETARG_DATUM(1), PERMISSION_SUBJECT_MAX_BYTES);
	permissions_parse(PG_GETARG_JSONB_P(0), permissions);
}

/* apikey_model_allowed(permissions jsonb, model text): boolean */
Datum
apikey_model_allowed(PG_FUNCTION_ARGS)
{
	Permissions permissions;

	get_arguments(fcinfo, "model", &permissions);
	PG_RETURN_BOOL(patterns_allow(permissions.allowed_models, PG_GETARG_TEXT_PP(1)));
}

/* apikey_endpoint_allowed(permissions jsonb, endpoint text): boolean */
Datum
apikey_endpoint_allowed(PG_FUNCTION_ARGS)
{
	Permissions permissions;

	get_arguments(fcinfo, "endpoint", &permissions);
	PG_RETURN_BOOL(patterns_allow(permissions.allowed_endpoints, PG_GETARG_TEXT_PP(1)));
}
