/*-------------------------------------------------------------------------
 *
 * missing_secrets.h
 *	  Which missing HMAC secrets have been logged already.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_MISSING_SECRETS_H
#define APIKEYS_LIVE_MISSING_SECRETS_H

#define MISSING_SECRETS_MAX	16	/* secrets at a time */

extern void missing_secrets_init(void);
extern bool missing_secrets_attach(void);
extern void missing_secrets_exchange(Oid database, char *const *names, int n, bool *newly_missing);
extern void missing_secrets_remove_database(Oid database);

#endif							/* APIKEYS_LIVE_MISSING_SECRETS_H */
