"""Pure decisions: no actors, no threads, no clock, no sockets, no randomness of their own.

Everything here is a value or a function of values; time comes in as ``now`` (seconds). Read in this order:
``model`` (the records), ``fleet`` (what a fleet is), ``intake`` (events to records), ``health`` (records to counts),
``debounce`` (when to look), ``reconcile`` (counts to a Plan), ``quota``/``batch``/``backoff`` (the gateway's decisions),
``ports`` (what the outside must offer), ``events`` (facts worth recording), ``errors`` (what can go wrong).

Five words: a *record* is the slim immutable form of an object; an *incident* is one health transition of one child; an
*item* is one repair wanted; a *slot* is one call's share of the quota; a *fact* is something that happened.
"""
