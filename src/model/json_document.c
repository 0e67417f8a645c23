/*-------------------------------------------------------------------------
 *
 * json_document.c
 *	  JSON objects whose members are known.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A table of members describes a document.  Any other member is an error: a
 * misspelt limit must not be taken for no limit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "base/numeric_digits.h"
#include "model/json_document.h"
#include "model/raw_key_filter.h"

/* 2^53 - 1: the largest integer that every reader of JSON represents exactly */
#define INTEGER_MAX			INT64CONST(9007199254740991)
#define INTEGER_MAX_POWER	3	/* of its first group of digits */

/* Raises 22023 for a document that is too large.  It is not detoasted for that. */
void
json_document_check_size(const char *name, Datum document, Size max_bytes)
{
	if (toast_raw_datum_size(document) <= max_bytes)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s is too large", name),
			 errdetail("It may have %zu bytes as jsonb.", max_bytes)));
}

/* Raises 22023 for a member that the document does not have. */
pg_noreturn static void
raise_unknown_member(const JsonDocument *document, const JsonbValue *key)
{
	StringInfoData known;

	initStringInfo(&known);
	for (int i = 0; i < document->nmembers; i++)
		appendStringInfo(&known, "%s%s", i > 0 ? ", " : "", document->members[i].name);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown member \"%s\" in %s",
					raw_key_filter_quote(key->val.string.val, key->val.string.len, NAMEDATALEN),
					document->name),
			 errhint("Members are %s.", known.data)));
}

static const JsonDocumentMember *
find_member(const JsonDocument *document, const JsonbValue *key)
{
	for (int i = 0; i < document->nmembers; i++)
	{
		const char *name = document->members[i].name;

		if ((int) strlen(name) == key->val.string.len &&
			memcmp(name, key->val.string.val, key->val.string.len) == 0)
			return &document->members[i];
	}

	raise_unknown_member(document, key);
}

/*
 * Calls visit for each member of a document.  Raises 22023 unless jsonb is an
 * object without unknown members.
 */
void
json_document_visit(const JsonDocument *document, Jsonb *jsonb, JsonDocumentVisitor visit, void *arg)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	const JsonDocumentMember *member = NULL;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", document->name)));

	it = JsonbIteratorInit(&jsonb->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			member = find_member(document, &value);
		else if (token == WJB_VALUE)
		{
			Assert(member != NULL); /* each value follows its key */
			visit(document, member, &value, arg);
		}
	}
}

/* Raises 22023 for a member whose value is not the expected one. */
void
json_document_raise_bad_value(const JsonDocument *document, const JsonDocumentMember *member,
							  const char *expected)
{
	Assert(member >= document->members && member < document->members + document->nmembers);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for \"%s\" in %s", member->name, document->name),
			 errdetail("The value must be %s.", expected)));
}

/* Sets a number that is whole, and from 0 to INTEGER_MAX; false for another one. */
static bool
to_integer(Numeric number, int64 *integer)
{
	NumericDigits digits;

	if (!numeric_digits(number, &digits) || digits.negative || numeric_digits_below(&digits, 0) ||
		digits.first > INTEGER_MAX_POWER)
		return false;

	*integer = numeric_digits_number(&digits, INTEGER_MAX_POWER, 0);
	return *integer <= INTEGER_MAX;
}

/* Returns an integer that is not negative.  Raises 22023 for another value. */
int64
json_document_parse_integer(const JsonDocument *document, const JsonDocumentMember *member,
							const JsonbValue *json)
{
	int64		integer = 0;

	if (json->type != jbvNumeric || !to_integer(json->val.numeric, &integer))
		json_document_raise_bad_value(document, member, "a whole number from 0 to 9007199254740991");
	return integer;
}

/*
 * Converts a JSON string by the input function of a type.  Its data exceptions
 * are raised as 22023 with the member's name.
 */
Datum
json_document_parse_string(const JsonDocument *document, const JsonDocumentMember *member,
						   Oid type, const JsonbValue *json)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *string;
	Oid			typinput;
	Oid			typioparam;
	Datum		result = (Datum) 0;

	Assert(json->type == jbvString);
	string = pnstrdup(json->val.string.val, json->val.string.len);
	getTypeInputInfo(type, &typinput, &typioparam);

	PG_TRY();
	{
		result = OidInputFunctionCall(typinput, string, typioparam, -1);
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
				 errmsg("invalid value for \"%s\" in %s", member->name, document->name),
				 errdetail("Its type says: %s.",
						   raw_key_filter_quote(error->message, strlen(error->message),
												QUOTE_MAX_BYTES))));
	}
	PG_END_TRY();

	return result;
}

/*
 * Are the values of all members the same, in an object whose members' types are
 * SQL types?  Compares their bytes: 1 and 1.0 are two numbers.
 */
bool
json_document_same_values(const JsonDocument *document, const Datum *a, const bool *a_nulls,
						  const Datum *b, const bool *b_nulls)
{
	for (int i = 0; i < document->nmembers; i++)
	{
		int16		typlen;
		bool		typbyval;

		if (a_nulls[i] != b_nulls[i])
			return false;
		get_typlenbyval(document->members[i].type, &typlen, &typbyval);
		if (!a_nulls[i] && !datum_image_eq(a[i], b[i], typbyval, typlen))
			return false;
	}
	return true;
}

/* Begins a member of an object that is being made.  The name must outlive it. */
void
json_document_push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key = {.type = jbvString, .val.string = {.val = unconstify(char *, name), .len = strlen(name)}};

	pushJsonbValue(state, WJB_KEY, &key);
}
