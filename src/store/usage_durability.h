/*-------------------------------------------------------------------------
 *
 * usage_durability.h
 *	  Does a commit wait until recorded usage is on disk?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_USAGE_DURABILITY_H
#define APIKEYS_STORE_USAGE_DURABILITY_H

extern void usage_durability_begin(void);
extern void usage_durability_end(void);
extern void usage_durability_repeated(void);

/* for hooks/transaction.c */
extern void usage_durability_pre_commit(void);
extern void usage_durability_at_eoxact(void);
extern void usage_durability_at_subxact_abort(void);

#endif							/* APIKEYS_STORE_USAGE_DURABILITY_H */
