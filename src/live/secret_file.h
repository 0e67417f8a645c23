/*-------------------------------------------------------------------------
 *
 * secret_file.h
 *	  Which file of HMAC secrets is the newest that any backend uses.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LIVE_SECRET_FILE_H
#define APIKEYS_LIVE_SECRET_FILE_H

extern void secret_file_init(void);
extern void secret_file_announce(const char *path);
extern bool secret_file_newer(char *path);

#endif							/* APIKEYS_LIVE_SECRET_FILE_H */
