"""The simulated world: an API server and a repair backend to run the operator against, in process or over HTTP.

Read in this order:

1. ``apiserver`` – the API server as a pure model: one store, one growing resourceVersion. Beside it ``kinds`` (what is
served,
   as data), ``schema`` (prune, default, validate), ``admission`` (what a write must pass), ``patching`` (patches and
   selectors), ``listing`` (pages), ``history`` (the change log that watches read), ``apierrors`` (refusals).
2. ``backend`` – the repair backend as a pure model: a quota over arrivals, keys, and every way of answering badly.
3. ``serve`` – the HTTP that both share; ``serve_api`` and ``serve_backend`` are the two processes. ``openapi`` and
``table`` are
   what kubectl needs of the first, ``protobuf`` the little that it insists on, ``serve_faults`` what tests may break,
   ``serve_heal`` what a repair changes in the cluster.
4. ``world`` – the seeded dispatcher with virtual time; ``crds`` – the definitions that Muster ships.

Words: a *resource* is a served kind; a *commit* is one change with its resourceVersion; a *cursor* is a watch as its
reader sees it; a *fault* is asked for by a test at ``/__faults``; an *arrival* is a call at the moment the backend has
read it.

The models know no clock, thread, socket or randomness: time and seeds are handed in. ``print``, wall time and sockets
are in ``serve*`` only.

**What the API server gets wrong** (nothing else is known; the contract tests run the same cases on a real one where
there is one):

- No authentication and no RBAC: every request is allowed, except that SelfSubjectAccessReview asks an injected policy.
- CEL rules, ``allOf``/``anyOf``/``oneOf``/``not``, embedded resources and formats but ``date-time`` are not validated.
- One version per CRD, its storage version: no conversion. A CRD is established in the same instant as it is stored, and
its own
  schema is hardly checked.
- Server-side apply is a merge patch: no field ownership, no conflicts, nothing is removed by leaving it out.
``managedFields``
  are not kept. Strategic merge patch of built-in kinds is a merge patch too; JSON patch knows add, remove, replace and
  test.
- No garbage collector (as in envtest): ownerReferences delete nothing, and ``propagationPolicy`` is ignored. Unlike
envtest, a deleted namespace takes its objects
  along at once, finalizers or not, and so does a deleted CRD.
- Only the present is kept beside the watch history: a list with ``resourceVersionMatch=Exact`` of another moment gets
410.
- A lost history is lost with the process: a new server starts at resourceVersion 1000 and answers 410 to older
watchers, and
  takes newer ones to be waiting for the future.
- Events live for ever. Namespaces, Events, SelfSubjectAccessReviews and CRDs are the only built-in kinds (so there are
no
  ServiceAccounts, Roles, Pods, Leases). No admission webhooks, no quotas, no priority and fairness, no scale
  subresource.
- JSON (and YAML for apply) only; of protobuf only what kubectl sends in ``create namespace``, ``auth can-i`` and delete
options;
  no CBOR. No TLS.
- Numbers: 1 and 1.0 and true are equal when a write is compared with what is stored (only matters under
  ``x-kubernetes-preserve-unknown-fields``).
"""
