/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between the server versions that apikeys supports.
 *
 * This is the only file that looks at PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_COMPAT_H
#define APIKEYS_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "apikeys needs PostgreSQL 15 or later"
#endif

#endif							/* APIKEYS_COMPAT_H */
