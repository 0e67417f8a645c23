/*-------------------------------------------------------------------------
 *
 * bulk.h
 *	  How statements on many rows are executed.  For src/store/ alone, apart
 *	  from the triggers on what they write.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_BULK_H
#define APIKEYS_STORE_BULK_H

#include "utils/portal.h"

#include "store/spi.h"

extern Portal store_open_cursor(Statement *statement, Datum *values, const bool *nulls);
extern uint64 store_write_many(Statement *statement, Datum *values, const bool *nulls);
extern bool store_is_writing_many(bool is_condition);

#endif							/* APIKEYS_STORE_BULK_H */
