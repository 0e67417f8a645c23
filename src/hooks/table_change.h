/*-------------------------------------------------------------------------
 *
 * table_change.h
 *	  Notices when the tables that are cached, or their triggers, are altered.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_HOOKS_TABLE_CHANGE_H
#define APIKEYS_HOOKS_TABLE_CHANGE_H

extern void table_change_init(void);

#endif							/* APIKEYS_HOOKS_TABLE_CHANGE_H */
