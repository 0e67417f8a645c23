/*-------------------------------------------------------------------------
 *
 * redact.h
 *	  Masks raw keys in the log and in pg_stat_activity.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_HOOKS_REDACT_H
#define APIKEYS_HOOKS_REDACT_H

extern void redact_init(void);

#endif							/* APIKEYS_HOOKS_REDACT_H */
