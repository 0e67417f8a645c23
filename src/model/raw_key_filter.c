/*-------------------------------------------------------------------------
 *
 * raw_key_filter.c
 *	  Keeps raw keys out of what is stored, and out of what is quoted.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A raw key may be pasted into the wrong place, and many can read what is
 * stored, and the messages that quote it.  So every text of a caller that a
 * table is to keep is checked here, and every text of a caller that a message
 * or a result repeats is quoted here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "model/key_format.h"
#include "model/key_scan.h"
#include "model/raw_key_filter.h"

PG_FUNCTION_INFO_V1(apikeys_mask_raw_keys);

/* Raises 22023 if there is a raw key in the value called what. */
static void
check(const char *what, const char *value, Size len)
{
	KeyMatch	match;

	if (key_scan_find(value, len, 0, &match))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not contain a raw API key", what)));
}

/* Raises 22023 for a text with a raw key. */
void
raw_key_filter_check_text(const char *what, const text *value)
{
	check(what, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * Raises 22023 for a document with a raw key in any name or string.  JSON
 * escapes none of the characters of a key.
 */
void
raw_key_filter_check_jsonb(const char *what, Jsonb *value)
{
	char	   *json = JsonbToCString(NULL, &value->root, VARSIZE(value));

	check(what, json, strlen(json));
	pfree(json);
}

/*
 * Returns the first max_bytes of a text, palloc'd, with raw keys masked.  A key
 * that starts there is found whole before it is cut.
 */
char *
raw_key_filter_quote(const char *text, Size len, Size max_bytes)
{
	char	   *quote = pnstrdup(text, Min(len, max_bytes + RAW_KEY_MAX_LEN));

	len = strlen(quote);
	(void) key_scan_mask(quote, len);
	quote[pg_mbcliplen(quote, (int) len, (int) max_bytes)] = '\0';

	return quote;
}

/* apikeys.mask_raw_keys(value text): the text with raw keys masked. */
Datum
apikeys_mask_raw_keys(PG_FUNCTION_ARGS)
{
	text	   *masked = PG_GETARG_TEXT_P_COPY(0);

	(void) key_scan_mask(VARDATA(masked), VARSIZE(masked) - VARHDRSZ);
	PG_RETURN_TEXT_P(masked);
}
