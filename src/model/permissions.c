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
			*(Patterns **) field = patterns_parse(document, member, value);
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
