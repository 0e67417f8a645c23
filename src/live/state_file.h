/*-------------------------------------------------------------------------
 *
 * state_file.h
 *	  Saves pending uses and windows at shutdown, loads them at start.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_STATE_FILE_H
#define APIKEYS_LIVE_STATE_FILE_H

extern void state_file_init(void);
extern void state_file_discard(void);

#endif							/* APIKEYS_LIVE_STATE_FILE_H */
