// SPDX-License-Identifier: Apache-2.0
// The one grammar of addresses and paths: profiles, options, messages, and what the broker judges by.
export { decodeAbstractName, encodeAbstractName } from './abstract-name.ts';
export { type Address, type AddressRule, addressForms } from './address.ts';
export { formatAddress } from './format.ts';
export { ordinaryHost, parseIp } from './ip.ts';
export { connectTarget, matchAddress, ruleContains } from './match.ts';
export { isHostName, parseAddress, parseAddressRule, parseNamedAddress } from './parse.ts';
export { matchPath, normalisePath, type PathAccess, type PathRule, parsePathRule, pathRuleContains } from './path.ts';
export { addressToSockaddr, maxSockaddrBytes, sockaddrToAddress, socketFamily } from './sockaddr.ts';
