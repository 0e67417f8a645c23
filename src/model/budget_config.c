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
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "model/json_document.h"
#include "model/budget_config.h"
#include "model/key_config.h"
#include "model/period.h"
#include "model/raw_key_filter.h"

PG_FUNCTION_INFO_V1(apikeys_check_budget);

static const JsonDocumentMember members[] = {
	[BUDGET_NAME] = {"name", TEXTOID},
	[BUDGET_MAX_COST] = {"max_cost", NUMERICOID},
	[BUDGET_RESET_EVERY] = {"reset_every", INTERVALOID},
};

StaticAssertDecl(lengthof(members) == BUDGET_NMEMBERS,
				 "the table must describe each BudgetMember");

static const JsonDocument changes_document = {
	.name = "changes",
	.members = members,
	.nmembers = BUDGET_NMEMBERS,
};

/* Rounds max_cost.  Raises 22023 unless the configuration is valid. */
static void
check(BudgetConfig *config)
{
	key_config_check_text("name", config->values[BUDGET_NAME],
						  config->nulls[BUDGET_NAME], NAME_MAX_CHARS);

	raw_key_filter_check_text("name", DatumGetTextPP(config->values[BUDGET_NAME]));

	if (config->nulls[BUDGET_MAX_COST])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_cost must not be null")));
	config->values[BUDGET_MAX_COST] =
		NumericGetDatum(round_amount(DatumGetNumeric(config->values[BUDGET_MAX_COST])));
	check_nonnegative_amount("max_cost", DatumGetNumeric(config->values[BUDGET_MAX_COST]));

	if (!config->nulls[BUDGET_RESET_EVERY])
		period_check_length(DatumGetIntervalP(config->values[BUDGET_RESET_EVERY]));
}

/* Fills a configuration from a function's first arguments.  Raises 22023. */
void
budget_config_from_arguments(BudgetConfig *config, FunctionCallInfo fcinfo)
{
	Assert(PG_NARGS() >= BUDGET_NMEMBERS);

	for (int i = 0; i < BUDGET_NMEMBERS; i++)
	{
		config->values[i] = PG_GETARG_DATUM(i);
		config->nulls[i] = PG_ARGISNULL(i);
	}
	check(config);
}

/* Visitor: applies the change of one member. */
static void
change_member(const JsonDocument *document, const JsonDocumentMember *member,
			  JsonbValue *json, void *arg)
{
	static const char *const expected[] = {
		[BUDGET_NAME] = "a string",
		[BUDGET_MAX_COST] = "a number",
		[BUDGET_RESET_EVERY] = "null or a string",
	};
	BudgetConfig *config = arg;
	BudgetMember m = member - members;

	StaticAssertStmt(lengthof(expected) == BUDGET_NMEMBERS,
					 "each BudgetMember has an expected type");
	config->nulls[m] = (m == BUDGET_RESET_EVERY && json->type == jbvNull);
	if (config->nulls[m])
		return;

	if (json->type != (m == BUDGET_MAX_COST ? jbvNumeric : jbvString))
		json_document_raise_bad_value(document, member, expected[m]);

	config->values[m] = m == BUDGET_MAX_COST
							? NumericGetDatum(json->val.numeric)
							: json_document_parse_string(document, member, member->type, json);
}

/*
 * Applies a document of changes: absent members stay as they are, and null
 * clears reset_every.  Raises 22023.
 */
void
budget_config_change(BudgetConfig *config, Jsonb *changes)
{
	json_document_visit(&changes_document, changes, change_member, config);
	check(config);
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
	BudgetConfig config;

	budget_config_from_arguments(&config, fcinfo);
	check_nonnegative_amount("max_cost", PG_GETARG_NUMERIC(BUDGET_MAX_COST));

	if (!PG_ARGISNULL(BUDGET_NMEMBERS) &&
		TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(BUDGET_NMEMBERS)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("created_at must be finite")));

	PG_RETURN_BOOL(true);
}
