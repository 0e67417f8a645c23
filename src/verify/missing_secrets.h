/*-------------------------------------------------------------------------
 *
 * missing_secrets.h
 *	  Logs HMAC secrets that keys need and that are not loaded.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_MISSING_SECRETS_H
#define APIKEYS_VERIFY_MISSING_SECRETS_H

extern void log_missing_secrets(void);

#endif							/* APIKEYS_VERIFY_MISSING_SECRETS_H */
