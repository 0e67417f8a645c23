/*-------------------------------------------------------------------------
 *
 * database_use.h
 *	  Sessions of other servers make way for commands on whole databases.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_HOOKS_DATABASE_USE_H
#define APIKEYS_HOOKS_DATABASE_USE_H

extern void database_use_init(void);

#endif							/* APIKEYS_HOOKS_DATABASE_USE_H */
