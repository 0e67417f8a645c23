/*-------------------------------------------------------------------------
 *
 * key_config.c
 *	  The configuration of a key, validated in one place.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * apikey_generate and apikey_import fill a KeyConfig from their arguments,
 * apikey_update changes one by a JSON document.  check_member() normalizes and
 * checks each value.  The CHECK constraint on apikeys_data.key applies the same
 * rules to every row, whoever writes it.  It is a single one because the server
 * parses the constraints of a table again in each statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "model/allowed_ips.h"
#include "model/json_document.h"
#include "model/key_config.h"
#include "model/key_format.h"
#include "model/key_hash.h"
#include "model/name.h"
#include "model/period.h"
#include "model/permissions.h"
#include "model/rate_limits.h"
#include "model/raw_key_filter.h"

#define DESCRIPTION_MAX_CHARS	1000
#define EXTERNAL_ID_MAX_CHARS	255
#define REVOKE_REASON_MAX_CHARS	1000
#define METADATA_MAX_DEPTH		100		/* many a client's parser takes no more */
#define ROTATED_SUFFIX			" (rotated)"

StaticAssertDecl(sizeof(ROTATED_SUFFIX) <= NAME_MAX_CHARS, "the suffix must fit into a name");

PG_FUNCTION_INFO_V1(apikeys_check_key);

static const JsonDocumentMember members[] = {
	[CONFIG_NAME] = {"name", TEXTOID},
	[CONFIG_DESCRIPTION] = {"description", TEXTOID},
	[CONFIG_USER_ID] = {"user_id", UUIDOID},
	[CONFIG_TEAM_ID] = {"team_id", UUIDOID},
	[CONFIG_BUDGET_ID] = {"budget_id", UUIDOID},
	[CONFIG_PERMISSIONS] = {"permissions", JSONBOID},
	[CONFIG_RATE_LIMITS] = {"rate_limits", JSONBOID},
	[CONFIG_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID},
	[CONFIG_METADATA] = {"metadata", JSONBOID},
	[CONFIG_EXTERNAL_ID] = {"external_id", TEXTOID},
	[CONFIG_ALLOWED_IPS] = {"allowed_ips", INETARRAYOID},
	[CONFIG_PLAN] = {"plan", TEXTOID},
	[CONFIG_IDLE_TIMEOUT] = {"idle_timeout", INTERVALOID},
	[CONFIG_ENABLED] = {"enabled", BOOLOID},
};

StaticAssertDecl(lengthof(members) == CONFIG_NMEMBERS,
				 "the table must describe each ConfigMember");

/* The types are those of the SQL arguments. */
static const JsonDocument changes_document = {
	.name = "changes",
	.members = members,
	.nmembers = CONFIG_NMEMBERS,
};

const char *
key_config_member_name(ConfigMember member)
{
	return members[member].name;
}

/* Returns the type of a member's value. */
Oid
key_config_member_type(ConfigMember member)
{
	return members[member].type;
}

/* Returns how many characters a text has; if more than max_chars, any number above. */
static int
count_chars(Datum value, int max_chars)
{
	text	   *txt;

	if (toast_raw_datum_size(value) - VARHDRSZ > (Size) max_chars * MAX_MULTIBYTE_CHAR_LEN)
		return max_chars + 1;	/* without detoasting it */

	txt = DatumGetTextPP(value);
	return pg_mbstrlen_with_len(VARDATA_ANY(txt), VARSIZE_ANY_EXHDR(txt));
}

/* Raises 22023 unless value is a text of 1 to max_chars characters. */
void
key_config_check_text(const char *what, Datum value, bool isnull, int max_chars)
{
	const char *fault = "must not be null";

	Assert(max_chars >= 1);
	if (!isnull)
	{
		int			nchars = count_chars(value, max_chars);

		if (nchars >= 1 && nchars <= max_chars)
			return;
		fault = nchars == 0 ? "must not be empty" : "is too long";
	}

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s %s", what, fault),
			 errdetail("It must have 1 to %d characters.", max_chars)));
}

/* Raises 22023 unless expires_at is in the future. */
void
key_config_check_expires_at(TimestampTz expires_at, TimestampTz now)
{
	if (expires_at > now)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("expires_at must be in the future"),
			 errdetail("It is %s, and now it is %s.",
					   pstrdup(timestamptz_to_str(expires_at)),
					   pstrdup(timestamptz_to_str(now))),
			 errhint("Leave it out for a key that never expires.")));
}

/* As good as no hash is readable, but a raw key is. */
static bool
is_readable(const bytea *hash)
{
	for (int i = 0; i < KEY_HASH_LEN; i++)
	{
		if (VARDATA_ANY(hash)[i] < ' ' || VARDATA_ANY(hash)[i] > '~')
			return false;
	}
	return true;
}

/*
 * Raises 22023 unless the bytea has the length of a hash, and is not a text of
 * that length.
 */
void
key_config_check_hash(Datum hash)
{
	Size		len = toast_raw_datum_size(hash) - VARHDRSZ;

	if (len != KEY_HASH_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_hash must have %d bytes", KEY_HASH_LEN),
				 errdetail("It has %zu.", len),
				 errhint("A hash in hexadecimal is converted with decode(hash, 'hex').")));
	if (is_readable(DatumGetByteaPP(hash)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_hash must be the hash of the key, not a text")));
}

/* Raises 22023 for a text that cannot name an HMAC secret. */
void
key_config_check_hash_secret(Datum name)
{
	text	   *txt;

	key_config_check_text("hash_secret", name, false, HMAC_SECRET_NAME_MAX_LEN);
	txt = DatumGetTextPP(name);
	raw_key_filter_check_text("hash_secret", txt);
	if (!key_hash_is_secret_name(VARDATA_ANY(txt), VARSIZE_ANY_EXHDR(txt)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid hash_secret"),
				 errdetail("The name of an HMAC secret has characters of A-Z, a-z, 0-9, \"_\", \"-\" and \".\" alone.")));
}

/* Raises 22023 for a text that cannot be shown as the masked form of a key. */
void
key_config_check_masked(Datum masked)
{
	Size		len = toast_raw_datum_size(masked) - VARHDRSZ;
	bool		valid = (len >= 1 && len <= MASKED_KEY_MAX_LEN);

	for (Size i = 0; valid && i < len; i++)
	{
		char		c = VARDATA_ANY(DatumGetTextPP(masked))[i]; /* too short to be toasted */

		valid = (c >= ' ' && c <= '~');
	}

	if (!valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid key_prefix"),
				 errdetail("It must be 1 to %d printable ASCII characters.",
						   MASKED_KEY_MAX_LEN),
				 errhint("It is shown to people: give the masked form of the key, such as \"gw-a...wxyz\", not the key.")));
}

/* Raises 22023 for a text that cannot be the reason for a revocation. */
void
key_config_check_revoke_reason(Datum reason)
{
	key_config_check_text("reason", reason, false, REVOKE_REASON_MAX_CHARS);
	raw_key_filter_check_text("reason", DatumGetTextPP(reason));
}

/* Puts a member into its stored form: a null document becomes an empty one. */
static void
normalize(ConfigMember member, Datum *value, bool *isnull)
{
	if (*isnull && members[member].type == JSONBOID)
	{
		*value = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
		*isnull = false;
	}
}

/*
 * Raises 22023 for a document or a list that is too large: apikey_verify returns
 * and reads them.
 */
static void
check_member_size(ConfigMember member, Datum value)
{
	if (members[member].type == JSONBOID)
		json_document_check_size(members[member].name, value, JSON_DOCUMENT_MAX_BYTES);
	if (member == CONFIG_ALLOWED_IPS)
		allowed_ips_check_size(value);
}

/* Raises 22023 unless metadata is an object, and not nested too deeply. */
static void
check_metadata_depth(Jsonb *metadata)
{
	JsonbIterator *it = JsonbIteratorInit(&metadata->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	int			depth = 0;

	if (!JB_ROOT_IS_OBJECT(metadata))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata must be a JSON object")));

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
			depth++;
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
			depth--;
		if (depth > METADATA_MAX_DEPTH)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("metadata is nested too deeply"),
					 errdetail("It may have %d levels.", METADATA_MAX_DEPTH)));
	}
}

/*
 * Raises 22023 unless metadata, of a key or budget, is an object, neither large
 * nor nested too deeply, and without raw keys.
 */
void
key_config_check_metadata(Datum metadata)
{
	json_document_check_size("metadata", metadata, JSON_DOCUMENT_MAX_BYTES);
	raw_key_filter_check_jsonb("metadata", DatumGetJsonbP(metadata));
	check_metadata_depth(DatumGetJsonbP(metadata));
}

/* Checks a value in its stored form.  Raises 22023. */
void
key_config_check_stored(ConfigMember member, Datum value, bool isnull)
{
	if (member == CONFIG_NAME)
		key_config_check_text("name", value, isnull, NAME_MAX_CHARS);
	if (isnull)
		return;

	check_member_size(member, value);
	if (member == CONFIG_NAME)
		name_check_blank(DatumGetTextPP(value));
	if (member == CONFIG_DESCRIPTION)
		key_config_check_text("description", value, false, DESCRIPTION_MAX_CHARS);
	if (member == CONFIG_EXTERNAL_ID)
		key_config_check_text("external_id", value, false, EXTERNAL_ID_MAX_CHARS);
	if (member == CONFIG_PLAN)
		key_config_check_text("plan", value, false, NAME_MAX_CHARS);
	if (members[member].type == TEXTOID)
		raw_key_filter_check_text(members[member].name, DatumGetTextPP(value));
	if (members[member].type == JSONBOID)
		raw_key_filter_check_jsonb(members[member].name, DatumGetJsonbP(value));

	switch (member)
	{
		case CONFIG_PERMISSIONS:
			{
				Permissions permissions;

				permissions_parse(DatumGetJsonbP(value), &permissions);
				break;
			}
		case CONFIG_RATE_LIMITS:
			(void) rate_limits_parse(DatumGetJsonbP(value), CurrentMemoryContext);
			break;
		case CONFIG_METADATA:
			check_metadata_depth(DatumGetJsonbP(value));
			break;
		case CONFIG_ALLOWED_IPS:
			allowed_ips_check(DatumGetArrayTypeP(value));
			break;
		case CONFIG_EXPIRES_AT:
			if (TIMESTAMP_IS_NOBEGIN(DatumGetTimestampTz(value)))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("expires_at must not be -infinity")));
			break;
		case CONFIG_IDLE_TIMEOUT:
			period_check_length("idle_timeout", DatumGetIntervalP(value),
								"a key that may be idle for ever");
			break;
		default:
			break;
	}
}

/*
 * Puts the value of a member into its stored form, and checks it.  Raises
 * 22023.  For plans as well, which have some of the members.
 */
void
key_config_check_value(ConfigMember member, Datum *value, bool *isnull)
{
	if (!*isnull)
		check_member_size(member, *value);
	normalize(member, value, isnull);
	key_config_check_stored(member, *value, *isnull);
}

/* Normalizes and checks one member of a new configuration. */
static void
check_member(KeyConfig *config, ConfigMember member, TimestampTz now)
{
	if (member == CONFIG_EXPIRES_AT && !config->nulls[member])
		key_config_check_expires_at(DatumGetTimestampTz(config->values[member]), now);
	key_config_check_value(member, &config->values[member], &config->nulls[member]);
}

/* Checks a whole configuration.  Raises 22023. */
void
key_config_check(KeyConfig *config, TimestampTz now)
{
	for (int member = 0; member < CONFIG_NMEMBERS; member++)
		check_member(config, member, now);
}

/* Converts the JSON value of a member, which is not null. */
static Datum
json_to_datum(const JsonDocument *document, const JsonDocumentMember *member, JsonbValue *json)
{
	switch (member->type)
	{
		case JSONBOID:
			return JsonbPGetDatum(JsonbValueToJsonb(json));
		case INETARRAYOID:
			return allowed_ips_from_json(document, member, json);
		case BOOLOID:
			if (json->type != jbvBool)
				json_document_raise_bad_value(document, member, "true or false");
			return BoolGetDatum(json->val.boolean);
		default:
			if (json->type != jbvString)
				json_document_raise_bad_value(document, member,
											  member == &members[CONFIG_NAME] ? "a string"
																			  : "null or a string");
			return json_document_parse_string(document, member, member->type, json);
	}
}

/* What a change is applied to. */
typedef struct ChangeTarget
{
	KeyConfig  *config;
	TimestampTz now;
} ChangeTarget;

/* Visitor: applies the change of one member. */
static void
change_member(const JsonDocument *document, const JsonDocumentMember *member,
			  JsonbValue *json, void *arg)
{
	ChangeTarget *target = arg;
	ConfigMember m = member - members;

	target->config->nulls[m] = (json->type == jbvNull);
	if (json->type != jbvNull)
		target->config->values[m] = json_to_datum(document, member, json);
	else if (m == CONFIG_ENABLED)
		json_document_raise_bad_value(document, member, "true or false");

	check_member(target->config, m, target->now);
	if (m == CONFIG_IDLE_TIMEOUT ||
		(m == CONFIG_ENABLED && DatumGetBool(target->config->values[m])))
		target->config->restarts_idleness = true;
}

/*
 * Applies a document of changes: absent members stay as they are, null members
 * are cleared.  Only changed members are checked, so that an expired key can
 * still be renamed.  Enabling a key, and its idle_timeout, have its idleness
 * counted anew, even if that is their value already.  Raises 22023.
 */
void
key_config_change(KeyConfig *config, Jsonb *changes, TimestampTz now)
{
	ChangeTarget target = {config, now};

	config->restarts_idleness = false;
	json_document_visit(&changes_document, changes, change_member, &target);
	if (config->nulls[CONFIG_IDLE_TIMEOUT])
		config->restarts_idleness = false;
}

/* Are two configurations the same? */
bool
key_config_equal(const KeyConfig *a, const KeyConfig *b)
{
	return json_document_same_values(&changes_document, a->values, a->nulls,
									 b->values, b->nulls);
}

/* Returns "NAME (rotated)", truncated; a name with the suffix is unchanged. */
text *
key_config_rotated_name(const text *name)
{
	const char *data = VARDATA_ANY(name);
	int			len = VARSIZE_ANY_EXHDR(name);
	int			suffix_len = strlen(ROTATED_SUFFIX);
	int			clipped_len = pg_mbcharcliplen(data, len, NAME_MAX_CHARS - suffix_len);

	if (len >= suffix_len &&
		memcmp(data + len - suffix_len, ROTATED_SUFFIX, suffix_len) == 0)
		return cstring_to_text_with_len(data, len);

	return cstring_to_text(psprintf("%.*s" ROTATED_SUFFIX, clipped_len, data));
}

/*
 * apikeys.check_key(...): for the CHECK on apikeys_data.key.  Returns true or
 * raises 22023.
 */
Datum
apikeys_check_key(PG_FUNCTION_ARGS)
{
	static const ConfigMember checked[] = {
		CONFIG_NAME, CONFIG_DESCRIPTION, CONFIG_EXTERNAL_ID, CONFIG_PERMISSIONS,
		CONFIG_RATE_LIMITS, CONFIG_METADATA, CONFIG_ALLOWED_IPS, CONFIG_EXPIRES_AT,
		CONFIG_IDLE_TIMEOUT
	};
	const int	n = lengthof(checked);

	Assert(PG_NARGS() == n + 6);
	for (int i = 0; i < n; i++)
		key_config_check_stored(checked[i], PG_GETARG_DATUM(i), PG_ARGISNULL(i));

	if (!PG_ARGISNULL(n))
		key_config_check_hash(PG_GETARG_DATUM(n));
	if (!PG_ARGISNULL(n + 1))
		key_config_check_hash_secret(PG_GETARG_DATUM(n + 1));
	if (!PG_ARGISNULL(n + 2))
		key_config_check_masked(PG_GETARG_DATUM(n + 2));
	if (!PG_ARGISNULL(n + 3) && TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(n + 3)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("created_at must be finite")));
	key_config_check_stored(CONFIG_PLAN, PG_GETARG_DATUM(n + 4), PG_ARGISNULL(n + 4));
	if (!PG_ARGISNULL(n + 5))
		key_config_check_revoke_reason(PG_GETARG_DATUM(n + 5));

	PG_RETURN_BOOL(true);
}
