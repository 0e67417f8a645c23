/*-------------------------------------------------------------------------
 *
 * ledger_writers.h
 *	  Which transactions are writing to a ledger.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_LEDGER_WRITERS_H
#define APIKEYS_STORE_LEDGER_WRITERS_H

extern bool ledger_writers_end(const char *table, int wait_ms);

#endif							/* APIKEYS_STORE_LEDGER_WRITERS_H */
