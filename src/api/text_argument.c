/*-------------------------------------------------------------------------
 *
 * text_argument.c
 *	  Arguments that are stored as text.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/text_argument.h"
#include "model/key_config.h"
#include "model/raw_key_filter.h"

/*
 * Returns a text argument of 1 to max_chars characters.  Raises 22023 for
 * another, a null, or one with a raw key.
 */
text *
text_argument(FunctionCallInfo fcinfo, int argno, const char *name, int max_chars)
{
	key_config_check_text(name, PG_GETARG_DATUM(argno), PG_ARGISNULL(argno), max_chars);
	raw_key_filter_check_text(name, PG_GETARG_TEXT_PP(argno));
	return PG_GETARG_TEXT_PP(argno);
}

/* As text_argument(), for one that may be null. */
text *
optional_text_argument(FunctionCallInfo fcinfo, int argno, const char *name, int max_chars)
{
	return PG_ARGISNULL(argno) ? NULL : text_argument(fcinfo, argno, name, max_chars);
}
