/*-------------------------------------------------------------------------
 *
 * ip_address.c
 *	  Addresses of clients, and the networks that they may come from.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A proxy passes on the address of a client in one of many forms, and what it
 * passes on may be forged.  So the address is parsed here, not by inet's input
 * function, which raises an error for anything else.
 *
 * A socket that listens on IPv6 shows IPv4 clients as ::ffff:a.b.c.d.  Here
 * these are IPv4, so that a list of networks means the same for any socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>
#include <arpa/inet.h>

#include "access/detoast.h"

#include "base/compat.h"
#include "model/ip_address.h"

#define IPV4_BITS	32
#define IPV6_BITS	128
#define BLANKS		" \t\r\n"

/* IPv4 addresses are mapped into IPv6 behind this. */
static const unsigned char ipv4_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* Converts an IPv4-mapped address, or a network of such, to IPv4. */
static void
unmap(inet_struct *network)
{
	if (network->family == PGSQL_AF_INET6 && network->bits >= 8 * sizeof(ipv4_prefix) &&
		memcmp(network->ipaddr, ipv4_prefix, sizeof(ipv4_prefix)) == 0)
	{
		network->family = PGSQL_AF_INET;
		network->bits -= 8 * sizeof(ipv4_prefix);
		memmove(network->ipaddr, network->ipaddr + sizeof(ipv4_prefix), IPV4_BITS / 8);
	}
}

/* Ends a text at a separator; returns what follows it, or NULL. */
static char *
split(char *text, char separator)
{
	char	   *found = strchr(text, separator);

	if (found == NULL)
		return NULL;
	*found = '\0';
	return found + 1;
}

static bool
is_port(const char *text)
{
	Size		len = strlen(text);

	return len >= 1 && len <= 5 && strspn(text, "0123456789") == len && atoi(text) <= 65535;
}

/* Is it the name or number of a network interface, as it follows fe80::1%? */
static bool
is_zone(const char *text)
{
	return text[0] != '\0' &&
		   text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:@")] == '\0';
}

/* 192.0.2.1, 192.0.2.1/32, 192.0.2.1:5678 */
static bool
parse_ipv4(char *text, inet_struct *address)
{
	char	   *port = split(text, ':');
	char	   *mask = split(text, '/');

	if (port != NULL ? mask != NULL || !is_port(port) : mask != NULL && strcmp(mask, "32") != 0)
		return false;

	address->family = PGSQL_AF_INET;
	address->bits = IPV4_BITS;
	return inet_pton(AF_INET, text, address->ipaddr) == 1;
}

/* 2001:db8::1, fe80::1%eth0, 2001:db8::1/128 */
static bool
parse_ipv6(char *text, inet_struct *address)
{
	char	   *mask = split(text, '/');
	char	   *zone = split(text, '%');

	if ((mask != NULL && strcmp(mask, "128") != 0) || (zone != NULL && !is_zone(zone)))
		return false;

	address->family = PGSQL_AF_INET6;
	address->bits = IPV6_BITS;
	return inet_pton(AF_INET6, text, address->ipaddr) == 1;
}

/* [2001:db8::1], [2001:db8::1]:443; from after the bracket */
static bool
parse_bracketed(char *text, inet_struct *address)
{
	char	   *rest = split(text, ']');

	if (rest == NULL || strchr(text, '/') != NULL ||
		(rest[0] != '\0' && (rest[0] != ':' || !is_port(rest + 1))))
		return false;

	return parse_ipv6(text, address);
}

/*
 * Parses the address of a client; false if it is none.  Blanks around it, its
 * port, its zone and a mask that covers all of it are ignored.
 */
static bool
parse_address(const char *data, Size len, inet_struct *address)
{
	char		buffer[IP_ADDRESS_MAX_LEN + 1];
	char	   *text = buffer;
	bool		parsed;

	if (len > IP_ADDRESS_MAX_LEN || memchr(data, '\0', len) != NULL)
		return false;
	memcpy(buffer, data, len);
	while (len > 0 && strchr(BLANKS, buffer[len - 1]) != NULL)
		len--;
	buffer[len] = '\0';
	text += strspn(text, BLANKS);

	if (text[0] == '[')
		parsed = parse_bracketed(text + 1, address);
	else if (strchr(text, ':') == strrchr(text, ':'))
		parsed = parse_ipv4(text, address);
	else
		parsed = parse_ipv6(text, address);
	if (parsed)
		unmap(address);

	return parsed;
}

/*
 * The same for a value of type text, as a caller of apikey_verify has passed it.
 * A toasted text is measured before it is detoasted.
 */
bool
ip_address_from_text(struct varlena *value, inet_struct *address)
{
	text	   *plain;

	if (toast_raw_datum_size(PointerGetDatum(value)) - VARHDRSZ > IP_ADDRESS_MAX_LEN)
		return false;

	plain = (text *) pg_detoast_datum_packed(value);
	return parse_address(VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain), address);
}

/* Packs the address of a client. */
PackedAddress
ip_address_pack(const inet_struct *address)
{
	PackedAddress packed;

	if (address->family == PGSQL_AF_INET)
	{
		memcpy(packed.bytes, ipv4_prefix, sizeof(ipv4_prefix));
		memcpy(packed.bytes + sizeof(ipv4_prefix), address->ipaddr, IPV4_BITS / 8);
	}
	else
		memcpy(packed.bytes, address->ipaddr, sizeof(packed.bytes));

	return packed;
}

/* Is there an address in it? */
bool
ip_address_is_packed(const PackedAddress *packed)
{
	static const PackedAddress none;

	return memcmp(packed, &none, sizeof(none)) != 0;
}

/* Returns a packed address as a value of type inet, palloc'd. */
inet *
ip_address_unpack(const PackedAddress *packed)
{
	inet	   *value = palloc0(sizeof(inet));
	inet_struct *address = &value->inet_data;

	address->family = PGSQL_AF_INET6;
	address->bits = IPV6_BITS;
	memcpy(address->ipaddr, packed->bytes, sizeof(packed->bytes));
	unmap(address);
	SET_VARSIZE(value, VARHDRSZ + offsetof(inet_struct, ipaddr) +
						   (address->family == PGSQL_AF_INET ? IPV4_BITS : IPV6_BITS) / 8);

	return value;
}

/* Returns an address as text, palloc'd. */
char *
ip_address_format(const inet_struct *address)
{
	char		buffer[sizeof("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")];

	if (pg_inet_net_ntop(address->family, address->ipaddr, address->bits,
						 buffer, sizeof(buffer)) == NULL)
		elog(ERROR, "could not format an address: %m");

	return pstrdup(buffer);
}

/* Sets a network to a value of type inet. */
void
ip_network_from_inet(const inet *value, inet_struct *network)
{
	memset(network, 0, sizeof(inet_struct));
	network->family = ip_family(value);
	network->bits = ip_bits(value);
	memcpy(network->ipaddr, ip_addr(value), ip_addrsize(value));
	unmap(network);
}

/* Is an address in a network? */
bool
ip_network_contains(const inet_struct *network, const inet_struct *address)
{
	return network->family == address->family &&
		   bitncmp(network->ipaddr, address->ipaddr, network->bits) == 0;
}

/* Are all addresses of a network in another one? */
bool
ip_network_covers(const inet_struct *network, const inet_struct *other)
{
	return other->bits >= network->bits && ip_network_contains(network, other);
}
