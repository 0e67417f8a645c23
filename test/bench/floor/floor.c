/*-------------------------------------------------------------------------
 *
 * floor.c
 *	  A function with apikey_verify's signature and row that does nothing.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * What it costs is what PostgreSQL takes to call a function and to pass its
 * row on.  The row is read from bench.floor_row at the first call; after that
 * each call returns the same one, without as much as a copy.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_floor);

static HeapTuple
read_row(FunctionCallInfo fcinfo)
{
	Datum		values[MaxTupleAttributeNumber];
	bool		nulls[MaxTupleAttributeNumber];
	TupleDesc	tupdesc;
	MemoryContext old;
	HeapTuple	row;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	SPI_connect();
	if (SPI_execute("SELECT * FROM bench.floor_row", true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1 || SPI_tuptable->tupdesc->natts != tupdesc->natts)
		elog(ERROR, "bench.floor_row has no row of apikey_verify");
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values, nulls);
	old = MemoryContextSwitchTo(TopMemoryContext);
	row = heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls);
	MemoryContextSwitchTo(old);
	SPI_finish();

	return row;
}

Datum
bench_floor(PG_FUNCTION_ARGS)
{
	static HeapTuple row = NULL;

	if (row == NULL)
		row = read_row(fcinfo);

	PG_RETURN_HEAPTUPLEHEADER(row->t_data);
}
