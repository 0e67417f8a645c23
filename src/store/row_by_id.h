/*-------------------------------------------------------------------------
 *
 * row_by_id.h
 *	  Reads a row by its id, without a statement.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_ROW_BY_ID_H
#define APIKEYS_STORE_ROW_BY_ID_H

#include "utils/uuid.h"

extern bool store_read_row(const char *table, const pg_uuid_t *id, const char *const *columns,
						   int ncolumns, Datum *values, bool *nulls);

#endif							/* APIKEYS_STORE_ROW_BY_ID_H */
