/*-------------------------------------------------------------------------
 *
 * ledger_writers.h
 *	  Which transactions are writing to the ledger.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_LEDGER_WRITERS_H
#define APIKEYS_STORE_LEDGER_WRITERS_H

extern bool ledger_writers_end(int wait_ms);

#endif							/* APIKEYS_STORE_LEDGER_WRITERS_H */
