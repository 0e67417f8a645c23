/*-------------------------------------------------------------------------
 *
 * prepared.h
 *	  Counts what prepared transactions have changed when they are committed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_HOOKS_PREPARED_H
#define APIKEYS_HOOKS_PREPARED_H

extern void prepared_init(void);
extern void prepared_pre_commit(void);

#endif							/* APIKEYS_HOOKS_PREPARED_H */
