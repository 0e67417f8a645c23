/*-------------------------------------------------------------------------
 *
 * ledger_entry.h
 *	  What entries of the ledgers may be.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_LEDGER_ENTRY_H
#define APIKEYS_MODEL_LEDGER_ENTRY_H

#define LEDGER_TEXT_MAX_CHARS	255		/* of a request_id, and of a model */

#endif							/* APIKEYS_MODEL_LEDGER_ENTRY_H */
