/*-------------------------------------------------------------------------
 *
 * key_row.h
 *	  A key's row as bytes that any backend can read.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_KEY_ROW_H
#define APIKEYS_STORE_KEY_ROW_H

#include "store/keys.h"

extern Size store_key_row_size(const KeyRow *row);
extern const char *store_pack_key_row(const KeyRow *row);
extern void store_unpack_key_row(const char *packed, Size size, KeyRow *row);

#endif							/* APIKEYS_STORE_KEY_ROW_H */
