/*-------------------------------------------------------------------------
 *
 * key_scan_test.c
 *	  The scanner for keys as SQL functions, for the tests alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/pg_crc.h"

#include "base/compat.h"

static int64 nsteps;

/* The scanner, its steps counted, and not the one that may be preloaded. */
#define key_scan_find counting_keyscan_find
#define key_scan_mask counting_keyscan_mask
#undef COMP_TRADITIONAL_CRC32
#define COMP_TRADITIONAL_CRC32(crc, data, len) \
	do { \
		nsteps += (len); \
		COMP_CRC32_NORMAL_TABLE(crc, data, len, pg_crc32_table); \
	} while (0)

#include "model/key_scan.c"

PG_FUNCTION_INFO_V1(test_mask);
PG_FUNCTION_INFO_V1(test_steps);

/* test_mask(txt text): text, with the keys in it masked */
Datum
test_mask(PG_FUNCTION_ARGS)
{
	text	   *txt = PG_GETARG_TEXT_P_COPY(0);

	key_scan_mask(VARDATA(txt), VARSIZE(txt) - VARHDRSZ);
	PG_RETURN_TEXT_P(txt);
}

/* test_steps(txt text): bigint, steps of the checksum that masking took */
Datum
test_steps(PG_FUNCTION_ARGS)
{
	text	   *txt = PG_GETARG_TEXT_P_COPY(0);

	nsteps = 0;
	key_scan_mask(VARDATA(txt), VARSIZE(txt) - VARHDRSZ);
	PG_RETURN_INT64(nsteps);
}
