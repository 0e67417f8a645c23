/*-------------------------------------------------------------------------
 *
 * ip_address.h
 *	  Addresses of clients, and the networks that they may come from.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_IP_ADDRESS_H
#define APIKEYS_MODEL_IP_ADDRESS_H

#include "utils/inet.h"

/* Longer texts are not addresses. */
#define IP_ADDRESS_MAX_LEN	128

/*
 * An address in as few bytes as it takes: IPv6, or IPv4 as it is mapped into
 * that.  All zeroes, which is no client's address: none.
 */
typedef struct PackedAddress
{
	unsigned char bytes[16];
} PackedAddress;

extern bool ip_address_from_text(struct varlena *value, inet_struct *address);
extern PackedAddress ip_address_pack(const inet_struct *address);
extern bool ip_address_is_packed(const PackedAddress *packed);
extern inet *ip_address_unpack(const PackedAddress *packed);
extern char *ip_address_format(const inet_struct *address);
extern void ip_network_from_inet(const inet *value, inet_struct *network);
extern bool ip_network_contains(const inet_struct *network, const inet_struct *address);
extern bool ip_network_covers(const inet_struct *network, const inet_struct *other);

#endif							/* APIKEYS_MODEL_IP_ADDRESS_H */
