/*-------------------------------------------------------------------------
 *
 * secure_memory.h
 *	  Memory for raw keys that is wiped before it is freed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_SECURE_MEMORY_H
#define APIKEYS_BASE_SECURE_MEMORY_H

extern void *secure_alloc(Size size);
extern void secure_wipe(void *data);

#endif							/* APIKEYS_BASE_SECURE_MEMORY_H */
