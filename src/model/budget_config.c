/*-------------------------------------------------------------------------
 *
 * budget_config.c
 *	  The configuration of a budget, validated in one place.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * As in key_config.c, the functions and the CHECK constraint on apikeys_data.budget
 * apply the same rules.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "model/json_document.h"
#include "model/budget_config.h"
#include "model/key_config.h"
#include "model/name.h"
#include "model/period.h"
#include "model/rate_limits.h"
#include "model/raw_key_filter.h"

PG_FUNCTION_INFO_V1(apikeys_check_budget);

#define WARN_AT_MAX			8
#define WARN_AT_MAX_BYTES	1024

static const JsonDocumentMember members[] = {
	[BUDGET_NAME] = {"name", TEXTOID},
	[BUDGET_MAX_COST] = {"max_cost", NUMERICOID},
	[BUDGET_RESET_EVERY] = {"reset_every", INTERVALOID},
	[BUDGET_PARENT_ID] = {"parent_id", UUIDOID},
	[BUDGET_RATE_LIMITS] = {"rate_limits", JSONBOID},
	[BUDGET_WARN_AT] = {"warn_at", NUMERICARRAYOID},
	[BUDGET_STARTS_AT] = {"starts_at", TIMESTAMPTZOID},
	[BUDGET_TIME_ZONE] = {"time_zone", TEXTOID},
	[BUDGET_METADATA] = {"metadata", JSONBOID},
};

StaticAssertDecl(lengthof(members) == BUDGET_NMEMBERS,
				 "the table must describe each BudgetMember");

static const JsonDocument changes_document = {
	.name = "changes",
	.members = members,
	.nmembers = BUDGET_NMEMBERS,
};

/* Puts a member into its stored form, in which null stands for no value. */
static void
normalize(BudgetConfig *config, BudgetMember member, TimestampTz now)
{
	Datum	   *value = &config->values[member];
	bool		isnull = config->nulls[member];

	switch (member)
	{
		case BUDGET_MAX_COST:
			if (!isnull)
				*value = NumericGetDatum(round_amount(DatumGetNumeric(*value)));
			return;
		case BUDGET_STARTS_AT:
			if (isnull)
				*value = TimestampTzGetDatum(now);
			break;
		case BUDGET_TIME_ZONE:
			if (isnull)
				*value = CStringGetTextDatum("UTC");
			else
			{
				check_size("time_zone", *value, TZ_STRLEN_MAX);
				*value = CStringGetTextDatum(period_check_time_zone(TextDatumGetCString(*value)));
			}
			break;
		case BUDGET_RATE_LIMITS:
		case BUDGET_METADATA:
			if (isnull)
				*value = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
			break;
		default:
			return;
	}
	config->nulls[member] = false;
}

/* Raises 22023 unless a fraction is above 0 and at most 1. */
static void
check_fraction(Datum fraction)
{
	check_nonnegative_amount("each element of warn_at", DatumGetNumeric(fraction));
	if (!DatumGetBool(DirectFunctionCall2(numeric_gt, fraction,
										  NumericGetDatum(int64_to_numeric(0)))) ||
		DatumGetBool(DirectFunctionCall2(numeric_gt, fraction,
										 NumericGetDatum(int64_to_numeric(1)))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("each element of warn_at must be above 0 and at most 1"),
				 errhint("0.8 warns when 80 percent are spent.")));
}

/* Raises 22023 unless the fractions are valid, few, and each there once. */
static void
check_warn_at(Datum value)
{
	ArrayType  *array;
	Datum	   *fractions;
	bool	   *nulls;
	int			n;

	check_size("warn_at", value, WARN_AT_MAX_BYTES);
	array = DatumGetArrayTypeP(value);
	n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (ARR_NDIM(array) != 1 || n > WARN_AT_MAX || array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("warn_at must have 1 to %d elements", WARN_AT_MAX),
				 errdetail("It must have one dimension and no nulls."),
				 errhint("Null stands for no warnings.")));

	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &fractions, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		check_fraction(fractions[i]);
		for (int j = 0; j < i; j++)
			if (DatumGetBool(DirectFunctionCall2(numeric_eq, fractions[i], fractions[j])))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("warn_at must not have an element twice")));
	}
}

/* Raises 22023 unless a rate-limit document is valid, and without raw keys. */
static void
check_rate_limits(Datum value)
{
	json_document_check_size("rate_limits", value, JSON_DOCUMENT_MAX_BYTES);
	raw_key_filter_check_jsonb("rate_limits", DatumGetJsonbP(value));
	(void) rate_limits_parse(DatumGetJsonbP(value), CurrentMemoryContext);
}

/*
 * Checks a value in its stored form.  Raises 22023.  Not for a time zone that this
 * server does not know: a row comes from one that does, by a dump or by replication,
 * or from before an upgrade of the operating system, and counts as UTC (period_at()).
 */
static void
check_value(BudgetMember member, Datum value, bool isnull)
{
	if (member == BUDGET_NAME)
	{
		key_config_check_text("name", value, isnull, NAME_MAX_CHARS);
		name_check_blank(DatumGetTextPP(value));
		raw_key_filter_check_text("name", DatumGetTextPP(value));
	}
	if (isnull)
		return;

	switch (member)
	{
		case BUDGET_MAX_COST:
			check_nonnegative_amount("max_cost", DatumGetNumeric(value));
			break;
		case BUDGET_RESET_EVERY:
			period_check_every(DatumGetIntervalP(value));
			break;
		case BUDGET_RATE_LIMITS:
			check_rate_limits(value);
			break;
		case BUDGET_WARN_AT:
			check_warn_at(value);
			break;
		case BUDGET_STARTS_AT:
			period_check_origin(DatumGetTimestampTz(value));
			break;
		case BUDGET_TIME_ZONE:
			check_size("time_zone", value, TZ_STRLEN_MAX);
			raw_key_filter_check_text("time_zone", DatumGetTextPP(value));
			break;
		case BUDGET_METADATA:
			key_config_check_metadata(value);
			break;
		default:
			break;
	}
}

/* Normalizes and checks one member of a new configuration. */
static void
check_member(BudgetConfig *config, BudgetMember member, TimestampTz now)
{
	normalize(config, member, now);
	check_value(member, config->values[member], config->nulls[member]);
}

/* Fills a configuration from a function's first arguments.  Raises 22023. */
void
budget_config_from_arguments(BudgetConfig *config, FunctionCallInfo fcinfo, TimestampTz now)
{
	Assert(PG_NARGS() >= BUDGET_NMEMBERS);

	for (int i = 0; i < BUDGET_NMEMBERS; i++)
	{
		config->values[i] = PG_GETARG_DATUM(i);
		config->nulls[i] = PG_ARGISNULL(i);
		check_member(config, i, now);
	}
}

/* Converts a JSON array of numbers into a numeric[]. */
static Datum
array_to_numerics(const JsonDocument *document, const JsonDocumentMember *member,
				  const JsonbValue *json)
{
	const char *expected = "null or an array of numbers";
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	Datum		numerics[WARN_AT_MAX + 1];
	int			n = 0;

	if (json->type != jbvBinary || !JsonContainerIsArray(json->val.binary.data))
		json_document_raise_bad_value(document, member, expected);

	/* One too many is found by the check. */
	it = JsonbIteratorInit(json->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE && n <= WARN_AT_MAX)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvNumeric)
			json_document_raise_bad_value(document, member, expected);
		numerics[n++] = NumericGetDatum(element.val.numeric);
	}

	return PointerGetDatum(construct_array(numerics, n, NUMERICOID, -1, false, TYPALIGN_INT));
}

/* Converts the JSON value of a member, which is not null. */
static Datum
json_to_datum(const JsonDocument *document, const JsonDocumentMember *member, JsonbValue *json)
{
	switch (member->type)
	{
		case JSONBOID:
			return JsonbPGetDatum(JsonbValueToJsonb(json));
		case NUMERICARRAYOID:
			return array_to_numerics(document, member, json);
		case NUMERICOID:
			if (json->type != jbvNumeric)
				json_document_raise_bad_value(document, member, "null or a number");
			return NumericGetDatum(json->val.numeric);
		default:
			if (json->type != jbvString)
				json_document_raise_bad_value(document, member,
											  member == &members[BUDGET_NAME] ? "a string"
																			  : "null or a string");
			return json_document_parse_string(document, member, member->type, json);
	}
}

/* What a change is applied to. */
typedef struct ChangeTarget
{
	BudgetConfig *config;
	TimestampTz now;
} ChangeTarget;

/* Visitor: applies the change of one member. */
static void
change_member(const JsonDocument *document, const JsonDocumentMember *member,
			  JsonbValue *json, void *arg)
{
	ChangeTarget *target = arg;
	BudgetMember m = member - members;

	target->config->nulls[m] = (json->type == jbvNull);
	if (json->type != jbvNull)
		target->config->values[m] = json_to_datum(document, member, json);
	check_member(target->config, m, target->now);
}

/*
 * Applies a document of changes: absent members stay as they are, null members
 * get their defaults.  Raises 22023.
 */
void
budget_config_change(BudgetConfig *config, Jsonb *changes, TimestampTz now)
{
	ChangeTarget target = {config, now};

	json_document_visit(&changes_document, changes, change_member, &target);
}

/* Does a document of changes, which is known to be one, name parent_id? */
bool
budget_config_names_parent(Jsonb *changes)
{
	const char *name = members[BUDGET_PARENT_ID].name;

	return getKeyJsonValueFromContainer(&changes->root, name, strlen(name), NULL) != NULL;
}

/* Are two configurations the same? */
bool
budget_config_equal(const BudgetConfig *a, const BudgetConfig *b)
{
	return json_document_same_values(&changes_document, a->values, a->nulls,
									 b->values, b->nulls);
}

/*
 * apikeys.check_budget(...): for the CHECK on apikeys_data.budget.  Returns
 * true or raises 22023.
 */
Datum
apikeys_check_budget(PG_FUNCTION_ARGS)
{
	Assert(PG_NARGS() == BUDGET_NMEMBERS);
	for (int i = 0; i < BUDGET_NMEMBERS; i++)
		check_value(i, PG_GETARG_DATUM(i), PG_ARGISNULL(i));

	PG_RETURN_BOOL(true);
}
