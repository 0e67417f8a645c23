/*-------------------------------------------------------------------------
 *
 * filters.c
 *	  Checks what apikey_list and apikey_count filter by.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/compat.h"
#include "model/json_document.h"
#include "model/key_config.h"

#define NAME_LIKE_MAX_CHARS		1000

/* Whether one document contains another takes the product of their sizes. */
#define METADATA_FILTER_MAX_BYTES	8192

PG_FUNCTION_INFO_V1(apikeys_check_filters);

/*
 * Raises 22025 for a pattern that ends in its escape character.  LIKE would do
 * so only for a name that matches all before.
 */
static void
check_escapes(const text *pattern)
{
	const char *data = VARDATA_ANY(pattern);
	int			len = VARSIZE_ANY_EXHDR(pattern);
	int			nescapes = 0;

	while (nescapes < len && data[len - 1 - nescapes] == '\\')
		nescapes++;

	if (nescapes % 2 == 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_ESCAPE_SEQUENCE),
				 errmsg("name_like must not end with its escape character"),
				 errhint("Write \"\\\\\" for a backslash.")));
}

/* Raises 22023 unless metadata is an object that is not too large. */
static void
check_metadata(Datum metadata)
{
	json_document_check_size("metadata", metadata, METADATA_FILTER_MAX_BYTES);
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(metadata)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata must be a JSON object")));
}

/* apikeys.check_filters(name_like text, metadata jsonb): void */
Datum
apikeys_check_filters(PG_FUNCTION_ARGS)
{
	if (!PG_ARGISNULL(0))
	{
		key_config_check_text("name_like", PG_GETARG_DATUM(0), false, NAME_LIKE_MAX_CHARS);
		check_escapes(PG_GETARG_TEXT_PP(0));
	}
	if (!PG_ARGISNULL(1))
		check_metadata(PG_GETARG_DATUM(1));

	PG_RETURN_VOID();
}
