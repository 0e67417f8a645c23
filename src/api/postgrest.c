/*-------------------------------------------------------------------------
 *
 * postgrest.c
 *	  apikey_pre_request, which PostgREST calls before each request.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * PostgREST puts the headers of a request into the setting request.headers, a
 * JSON object with lower-case names, and calls the function of db-pre-request
 * in the same transaction.  It sends the headers in the setting
 * response.headers, but only if the request succeeds.  An error with SQLSTATE
 * PTnnn ends the request with HTTP status nnn and no headers of ours.  To send
 * headers with an error, PostgREST 12 has the SQLSTATE PGRST, whose message is
 * the body and whose DETAIL has status and headers, both in JSON.  So what
 * exceeds a limit is a PGRST error, with the body of a PT429 error.
 *
 * Any session that can run SQL can set request.headers, but it needs a key for
 * that, as for apikey_login.  So nothing here depends on who has set it.
 *
 * The message of a PTnnn error becomes part of the HTTP status line, so it is
 * constant.  No error message contains any part of the headers, and copies of
 * them are wiped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "base/secure_memory.h"
#include "model/permissions.h"
#include "settings/guc.h"
#include "verify/authorize.h"
#include "verify/identity.h"

#define HEADERS_MAX_BYTES	262144	/* web servers take much less */

/* The headers that may contain a key, in order of precedence. */
enum
{
	HEADER_KEY,					/* apikeys.request_header */
	HEADER_AUTHORIZATION,
	NHEADERS
};

typedef struct Headers
{
	JsonLexContext *lex;
	int			field;			/* whose value comes next; -1: another header */
	char	   *values[NHEADERS]; /* in secure memory; NULL: missing */
} Headers;

#define SQLSTATE_PT429	MAKE_SQLSTATE('P', 'T', '4', '2', '9')
#define SQLSTATE_PGRST	MAKE_SQLSTATE('P', 'G', 'R', 'S', 'T')

/* The HTTP status for a code of verify. */
typedef struct HttpStatus
{
	const char *code;
	int			sqlstate;
	const char *phrase;
} HttpStatus;

static const HttpStatus statuses[] = {
	{"FORBIDDEN", MAKE_SQLSTATE('P', 'T', '4', '0', '3'), "Forbidden"},
	{"INSUFFICIENT_PERMISSIONS", MAKE_SQLSTATE('P', 'T', '4', '0', '3'), "Forbidden"},
	{"RATE_LIMITED", SQLSTATE_PT429, "Too Many Requests"},
	{"BUDGET_EXCEEDED", SQLSTATE_PT429, "Too Many Requests"},
	{NULL, MAKE_SQLSTATE('P', 'T', '4', '0', '1'), "Unauthorized"} /* any other */
};

PG_FUNCTION_INFO_V1(apikey_pre_request);

/* ------------------------------------------------------------ the headers */

/* Called with the name of each member, before its value. */
static json_action
handle_name(void *state, char *name, bool isnull)
{
	Headers	   *headers = state;

	if (headers->lex->lex_level == 1)
	{
		headers->field = -1;
		if (strcmp(name, "authorization") == 0)
			headers->field = HEADER_AUTHORIZATION;
		else if (pg_strcasecmp(name, guc_request_header) == 0)
			headers->field = HEADER_KEY;
	}
	json_action_end();
}

/*
 * Called with each value that is neither object nor array.  The token is our
 * copy.
 */
static json_action
handle_value(void *state, char *token, JsonTokenType type)
{
	Headers	   *headers = state;
	Size		size = strlen(token) + 1;

	if (headers->lex->lex_level == 1 && headers->field >= 0 && type == JSON_TOKEN_STRING)
	{
		headers->values[headers->field] = secure_alloc(size);
		memcpy(headers->values[headers->field], token, size);
	}
	explicit_bzero(token, size);
	json_action_end();
}

/*
 * Reads the headers of the request.  Not with jsonb_in(): its errors quote the
 * input, and it makes copies.
 */
static void
read_headers(Headers *headers)
{
	const char *json = GetConfigOption("request.headers", true, false);
	JsonSemAction actions = {0};
	JsonParseErrorType error;

	memset(headers, 0, sizeof(Headers));
	headers->field = -1;
	if (json == NULL || json[0] == '\0')
		return;
	if (strnlen(json, HEADERS_MAX_BYTES + 1) > HEADERS_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("request.headers is too large"),
				 errdetail("It may have %d bytes.", HEADERS_MAX_BYTES)));

	headers->lex = json_lexer((char *) json, strlen(json), GetDatabaseEncoding());
	actions.semstate = headers;
	actions.object_field_start = handle_name;
	actions.scalar = handle_value;
	error = pg_parse_json(headers->lex, &actions);
	explicit_bzero(headers->lex->strval->data, headers->lex->strval->maxlen);
	if (error != JSON_SUCCESS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("request.headers is not valid JSON")));
}

/* Removes blanks around a value, in place; keys have none. */
static char *
trim(char *value)
{
	Size		len;

	value += strspn(value, " \t");
	len = strlen(value);
	while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	value[len] = '\0';

	return value;
}

/*
 * Is it a JSON web token: three parts in base64url separated by dots, the
 * first of them a JSON object?  Those are for PostgREST itself.
 */
static bool
is_jwt(const char *token)
{
	int			ndots = 0;

	for (const char *c = token; *c != '\0'; c++)
		ndots += (*c == '.');

	return ndots == 2 && strncmp(token, "eyJ", 3) == 0 &&
		   strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(token);
}

/* Returns the key in "Bearer KEY", or NULL. */
static const char *
bearer_key(char *authorization)
{
	static const char scheme[] = "Bearer ";
	char	   *token;

	authorization = trim(authorization);
	if (pg_strncasecmp(authorization, scheme, strlen(scheme)) != 0)
		return NULL;
	token = trim(authorization + strlen(scheme));

	return is_jwt(token) ? NULL : token;
}

/* Returns the key of the request, or NULL if there is none or it is empty. */
static const char *
find_key(const Headers *headers)
{
	const char *key = NULL;

	if (headers->values[HEADER_KEY] != NULL)
		key = trim(headers->values[HEADER_KEY]);
	if ((key == NULL || key[0] == '\0') && headers->values[HEADER_AUTHORIZATION] != NULL)
		key = bearer_key(headers->values[HEADER_AUTHORIZATION]);

	return key != NULL && key[0] != '\0' ? key : NULL;
}

/* Wipes our copies of header values. */
static void
wipe_headers(Headers *headers)
{
	for (int i = 0; i < NHEADERS; i++)
	{
		if (headers->values[i] != NULL)
			secure_wipe(headers->values[i]);
	}
}

/* ----------------------------------------------------------- the response */

/* Adds a header, whose value is a number, to members of JSON objects. */
static void
add_header(StringInfo json, const char *separator, const char *name, const char *value)
{
	appendStringInfo(json, "%s\"%s\": \"%s\"", json->len > 0 ? separator : "", name, value);
}

/*
 * Returns a number for a header.  Headers have whole numbers, so a cost is
 * rounded up: 0 remains only if nothing does.
 */
static char *
whole_number(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out,
											   DirectFunctionCall1(numeric_ceil, NumericGetDatum(number))));
}

/* Returns the headers about limits as members of JSON objects, or an empty string. */
static char *
limit_headers(const AuthDecision *decision, const char *separator)
{
	const LimitStatus *limit = &decision->limit;
	int32		resets_in = authorize_seconds_until(decision, limit->resets_at);
	int32		retry_after = authorize_seconds_until(decision, decision->retry_at);
	StringInfoData json;
	Numeric		remaining;

	initStringInfo(&json);
	if (limit->name != NULL)
	{
		add_header(&json, separator, "RateLimit-Limit",
				   whole_number(limit_status_numbers(limit, &remaining)));
		add_header(&json, separator, "RateLimit-Remaining", whole_number(remaining));
		if (resets_in > 0)
			add_header(&json, separator, "RateLimit-Reset", psprintf("%d", resets_in));
	}
	if (retry_after > 0)
		add_header(&json, separator, "Retry-After", psprintf("%d", retry_after));

	return json.data;
}

/* Has PostgREST send the headers about limits, if the request succeeds. */
static void
set_response_headers(const AuthDecision *decision)
{
	if (decision->limit.name == NULL)
		return;
	(void) set_config_option("response.headers",
							 psprintf("[{%s}]", limit_headers(decision, "}, {")),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* Raises an error of which PostgREST sends the headers about limits. */
pg_noreturn static void
reject_with_headers(const AuthDecision *decision, const char *phrase, const char *hint)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfo(&body, "{\"code\": \"PT429\", \"message\": \"%s\", \"details\": \"%s\", \"hint\": ",
					 phrase, decision->code);
	escape_json(&body, hint);
	appendStringInfoChar(&body, '}');

	ereport(ERROR,
			(errcode(SQLSTATE_PGRST),
			 errmsg_internal("%s", body.data),
			 errdetail_internal("{\"status\": 429, \"headers\": {%s}}", limit_headers(decision, ", "))));
}

/* Raises the error for a request that is not authorized. */
pg_noreturn static void
reject_request(const AuthDecision *decision)
{
	const HttpStatus *status = statuses;
	int32		seconds = authorize_retry_after(decision);
	const char *hint = decision->reason;

	Assert(!decision->valid && decision->reason != NULL);

	while (status->code != NULL && strcmp(status->code, decision->code) != 0)
		status++;
	if (seconds > 0)
		hint = psprintf("%s; retry after %d seconds", decision->reason, seconds);
	if (status->sqlstate == SQLSTATE_PT429)
		reject_with_headers(decision, status->phrase, hint);
	ereport(ERROR,
			(errcode(status->sqlstate),
			 errmsg_internal("%s", status->phrase),
			 errdetail_internal("%s", decision->code),
			 errhint("%s", hint)));
}

/* ------------------------------------------------------------ the request */

/*
 * Returns the path of the request as text.  If it is unknown it is empty, not
 * null, so that a key with allowed_endpoints is refused.
 */
static text *
request_path(void)
{
	const char *path = GetConfigOption("request.path", true, false);

	if (path == NULL)
		path = "";

	/* If that cuts it, it is still too long for an endpoint. */
	return cstring_to_text_with_len(path, strnlen(path, PERMISSION_SUBJECT_MAX_BYTES + 1));
}

/* Copies a key to a text in secure memory of the current context. */
static text *
secret_text(const char *key)
{
	Size		len = strlen(key);
	text	   *result = secure_alloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), key, len);

	return result;
}

/* Authorizes a request, and wipes its key. */
static void
authorize_request(text *raw_key, AuthDecision *decision)
{
	NullableDatum args[AUTHORIZE_NARGUMENTS];

	Assert(!VARATT_IS_EXTENDED(raw_key));

	for (int i = 0; i < AUTHORIZE_NARGUMENTS; i++)
		args[i] = (NullableDatum){.isnull = true};
	args[AUTHORIZE_RAW_KEY] = (NullableDatum){.value = PointerGetDatum(raw_key)};
	args[AUTHORIZE_ENDPOINT] = (NullableDatum){.value = PointerGetDatum(request_path())};

	authorize(args, decision);
	secure_wipe(raw_key);
}

/*
 * apikey_pre_request(): void.  Logs in with the key of the request; without a
 * key, logs out.  Sets the headers of the response.
 */
Datum
apikey_pre_request(PG_FUNCTION_ARGS)
{
	Headers		headers;
	AuthDecision decision;
	const char *key;

	identity_clear();
	read_headers(&headers);
	key = find_key(&headers);
	if (key != NULL)
	{
		authorize_request(secret_text(key), &decision);
		if (!decision.valid)
			reject_request(&decision);
		identity_set(&decision.key->row);
		set_response_headers(&decision);
		authorize_record_use(&decision);
	}
	wipe_headers(&headers);

	PG_RETURN_VOID();
}
