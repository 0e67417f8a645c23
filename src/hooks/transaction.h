/*-------------------------------------------------------------------------
 *
 * transaction.h
 *	  What apikeys does when a transaction or a subtransaction ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_HOOKS_TRANSACTION_H
#define APIKEYS_HOOKS_TRANSACTION_H

extern void transaction_init(void);

#endif							/* APIKEYS_HOOKS_TRANSACTION_H */
