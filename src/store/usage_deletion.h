/*-------------------------------------------------------------------------
 *
 * usage_deletion.h
 *	  The statements that delete what deleted keys and budgets have used.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_USAGE_DELETION_H
#define APIKEYS_STORE_USAGE_DELETION_H

extern void store_delete_use(Datum ids);
extern void store_delete_orphans(void);

#endif							/* APIKEYS_STORE_USAGE_DELETION_H */
