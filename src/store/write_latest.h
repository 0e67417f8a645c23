/*-------------------------------------------------------------------------
 *
 * write_latest.h
 *	  Writes on what is committed now, in any isolation level.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_WRITE_LATEST_H
#define APIKEYS_STORE_WRITE_LATEST_H

#include "store/spi.h"

extern uint64 store_write_latest(Statement *statement, Datum *values, const bool *nulls);

#endif							/* APIKEYS_STORE_WRITE_LATEST_H */
