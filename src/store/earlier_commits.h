/*-------------------------------------------------------------------------
 *
 * earlier_commits.h
 *	  Has a commit wait for those that came before it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_EARLIER_COMMITS_H
#define APIKEYS_STORE_EARLIER_COMMITS_H

extern void store_wait_for_earlier_commits(void);

#endif							/* APIKEYS_STORE_EARLIER_COMMITS_H */
