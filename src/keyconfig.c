/*-------------------------------------------------------------------------
 *
 * keyconfig.c
 *	  What the owner of a key decides about it: checked in one place.
 *
 * apikey_generate and apikey_import fill a KeyConfig from their arguments,
 * apikey_update changes one by a JSON document.  Every value passes
 * check_member() on its way, which also puts it into the form that is
 * stored.  The constraints on apikeys.key guard the same rules once more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "keyconfig.h"
#include "policy.h"

#define NAME_MAX_CHARS			255
#define DESCRIPTION_MAX_CHARS	1000
#define EXTERNAL_ID_MAX_CHARS	255

static const struct
{
	const char *name;
	Oid			type;
} members[] = {
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
	[CONFIG_ENABLED] = {"enabled", BOOLOID},
};

/*
 * Raises 22023 unless value is a text of 1 to max_chars characters.
 */
void
keyconfig_check_text(const char *what, Datum value, bool isnull, int max_chars)
{
	text	   *txt;
	int			nchars = 0;

	if (!isnull)
	{
		txt = DatumGetTextPP(value);
		nchars = pg_mbstrlen_with_len(VARDATA_ANY(txt), VARSIZE_ANY_EXHDR(txt));
		if (nchars >= 1 && nchars <= max_chars)
			return;
	}

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 isnull ? errmsg("%s must not be null", what) : nchars == 0 ? errmsg("%s must not be empty", what)
																		: errmsg("%s is too long", what),
			 errdetail("It must have 1 to %d characters.", max_chars)));
}

/* Raises 22023 unless expires_at lies in the future. */
void
keyconfig_check_expires_at(TimestampTz expires_at, TimestampTz now)
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

/* Raises 22023 unless the list has one dimension and no null in it. */
static void
check_allowed_ips(ArrayType *ips)
{
	if (ARR_NDIM(ips) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("allowed_ips must have one dimension")));
	if (array_contains_nulls(ips))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("allowed_ips must not contain nulls")));
}

/*
 * Checks one member and puts it into the form in which it is stored: no
 * document is the empty one, no list of addresses is null.
 */
static void
check_member(KeyConfig *config, ConfigMember member, TimestampTz now)
{
	Datum	   *value = &config->values[member];
	bool	   *isnull = &config->nulls[member];

	if (*isnull && members[member].type == JSONBOID)
	{
		*value = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
		*isnull = false;
	}

	if (member == CONFIG_NAME)
		keyconfig_check_text("name", *value, *isnull, NAME_MAX_CHARS);
	if (*isnull)
		return;

	switch (member)
	{
		case CONFIG_DESCRIPTION:
			keyconfig_check_text("description", *value, false, DESCRIPTION_MAX_CHARS);
			break;
		case CONFIG_EXTERNAL_ID:
			keyconfig_check_text("external_id", *value, false, EXTERNAL_ID_MAX_CHARS);
			break;
		case CONFIG_PERMISSIONS:
			{
				Permissions permissions;

				policy_parse_permissions(DatumGetJsonbP(*value), &permissions);
				break;
			}
		case CONFIG_RATE_LIMITS:
			{
				RateLimits	limits;

				policy_parse_rate_limits(DatumGetJsonbP(*value), &limits);
				break;
			}
		case CONFIG_METADATA:
			if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(*value)))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("metadata must be a JSON object")));
			break;
		case CONFIG_EXPIRES_AT:
			keyconfig_check_expires_at(DatumGetTimestampTz(*value), now);
			break;
		case CONFIG_ALLOWED_IPS:
			check_allowed_ips(DatumGetArrayTypeP(*value));
			*isnull = (ARR_NDIM(DatumGetArrayTypeP(*value)) == 0);
			break;
		default:
			break;
	}
}

/* Checks a whole configuration.  Raises 22023. */
void
keyconfig_check(KeyConfig *config, TimestampTz now)
{
	for (int member = 0; member < CONFIG_NMEMBERS; member++)
		check_member(config, member, now);
}

/* Raises 22023 for a value of the wrong JSON type. */
static void
bad_change(const char *name, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for \"%s\" in changes", name),
			 errdetail("The value must be %s.", expected)));
}

/*
 * Returns the value of a type that a JSON string spells.  What the type's
 * input function refuses is raised as 22023 with the member's name.
 */
static Datum
string_to_datum(const char *name, Oid type, const JsonbValue *json)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			typinput;
	Oid			typioparam;
	Datum		result = (Datum) 0;

	if (json->type != jbvString)
		bad_change(name, type == INETOID ? "null or an array of strings" : strcmp(name, "name") == 0 ? "a string"
																									 : "null or a string");

	getTypeInputInfo(type, &typinput, &typioparam);

	PG_TRY();
	{
		result = OidInputFunctionCall(typinput,
									  pnstrdup(json->val.string.val, json->val.string.len),
									  typioparam, -1);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"%s\" in changes", name),
				 errdetail("Its type says: %s.", error->message)));
	}
	PG_END_TRY();

	return result;
}

/* Returns the inet[] that a JSON array of strings spells. */
static Datum
array_to_inets(const char *name, const JsonbValue *json)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	Datum	   *inets;
	int			ninets = 0;

	if (json->type != jbvBinary || !JsonContainerIsArray(json->val.binary.data))
		bad_change(name, "null or an array of strings");

	inets = palloc(sizeof(Datum) * Max(1, JsonContainerSize(json->val.binary.data)));
	it = JsonbIteratorInit(json->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			inets[ninets++] = string_to_datum(name, INETOID, &element);
	}

	return PointerGetDatum(construct_array(inets, ninets, INETOID,
										   -1, false, TYPALIGN_INT));
}

/* Returns the value of a member that is not null in JSON. */
static Datum
json_to_datum(ConfigMember member, JsonbValue *json)
{
	const char *name = members[member].name;

	switch (members[member].type)
	{
		case JSONBOID:
			return JsonbPGetDatum(JsonbValueToJsonb(json));
		case INETARRAYOID:
			return array_to_inets(name, json);
		case BOOLOID:
			if (json->type != jbvBool)
				bad_change(name, "true or false");
			return BoolGetDatum(json->val.boolean);
		default:
			return string_to_datum(name, members[member].type, json);
	}
}

static ConfigMember
find_member(const JsonbValue *key)
{
	StringInfoData known;

	initStringInfo(&known);
	for (int member = 0; member < CONFIG_NMEMBERS; member++)
	{
		const char *name = members[member].name;

		if ((int) strlen(name) == key->val.string.len &&
			memcmp(name, key->val.string.val, key->val.string.len) == 0)
			return member;
		appendStringInfo(&known, "%s%s", member > 0 ? ", " : "", name);
	}

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown member \"%.*s\" in changes",
					pg_mbcliplen(key->val.string.val, key->val.string.len, NAMEDATALEN),
					key->val.string.val),
			 errhint("Members are %s.", known.data)));
}

/*
 * Applies a document of changes: a member that is absent stays, one that is
 * null is cleared.  Only what is changed is checked, so that a key whose
 * expiry has passed can still be renamed.  Raises 22023.
 */
void
keyconfig_change(KeyConfig *config, Jsonb *changes, TimestampTz now)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	json;
	ConfigMember member = CONFIG_NMEMBERS;

	if (!JB_ROOT_IS_OBJECT(changes))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("changes must be a JSON object")));

	it = JsonbIteratorInit(&changes->root);
	while ((token = JsonbIteratorNext(&it, &json, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			member = find_member(&json);
		else if (token == WJB_VALUE)
		{
			config->nulls[member] = (json.type == jbvNull);
			if (config->nulls[member] && member == CONFIG_ENABLED)
				bad_change("enabled", "true or false");
			if (!config->nulls[member])
				config->values[member] = json_to_datum(member, &json);
			check_member(config, member, now);
		}
	}
}
