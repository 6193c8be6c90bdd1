"""The simulated world: an API server and a repair backend to run the operator against, in process or over HTTP.

Read in this order:

1. ``apiserver`` – the API server as a pure model: reads and writes. Under it ``store`` (what is served, how a change is
   committed) and ``shelves`` (where objects are kept, now and as they were); beside it ``kinds`` (what is served, as data),
   ``schema`` (prune, default, validate), ``admission`` (what a write must pass), ``patching`` (patches and selectors),
   ``apply`` on ``fieldsets`` (server-side apply: who owns what), ``namespaces`` (what a deletion takes along), ``listing``
   (pages), ``history`` (the change log that watches read), ``apierrors`` (refusals).
2. ``backend`` – the repair backend as a pure model: a quota over arrivals, keys, and every way of answering badly.
3. ``serve`` – the HTTP that both share; ``serve_api`` and ``serve_backend`` are the two processes. ``serve_request`` reads
   a request's options, ``serve_watch`` is the loop of one watch, ``openapi`` and ``table`` are what kubectl needs,
   ``protobuf`` the little that it insists on, ``serve_faults`` what tests may break, ``serve_heal`` what a repair changes
   in the cluster.
4. ``world`` – the seeded dispatcher with virtual time; ``crds`` – the definitions that Muster ships; ``reports`` – what a
   machine of any fleet writes when it says that it is well, or not.
5. For tests on real sockets: ``envtest`` – a real kube-apiserver and etcd; ``serve_contract`` – that one and the model
   under one client; ``proxy`` – a network that can be broken; ``live`` – the operator and the servers as processes, and a
   fleet with the truth about it; ``terminal`` – a program in a pseudo-terminal.

Words: a *resource* is a served kind; a *commit* is one change with its resourceVersion; a *cursor* is a watch as its
reader sees it; a *fault* is asked for by a test at ``/__faults``; an *arrival* is a call at the moment the backend has
read it.

The models know no clock, thread, socket or randomness: time and seeds are handed in. ``print``, wall time and sockets
are in ``serve*`` only.

**What the API server gets wrong.** ``tests/contract/apiserver`` asks it and a real kube-apiserver 1.37 the same things. What
they answer differently, beside the wording of some messages, the order of several causes and resourceVersions that other
components' writes use up, is this; ``test_apiserver_contract_gaps.py`` there asserts what either says.

- No authentication and no RBAC: every request is allowed; SelfSubjectAccessReview asks an injected policy.
- CEL rules, ``allOf``/``anyOf``/``oneOf``/``not``, ``multipleOf``, embedded resources and formats but ``date-time`` are not
  checked. Fields that come twice in a body are not noticed; of built-in kinds unknown fields are kept. Warnings are of
  unknown fields only.
- One version per CRD, its storage version, and no conversion. A CRD is established at once, its own schema hardly checked.
- Defaults that a CRD gains later appear with an object's next write of that part, not with its next read.
- ``managedFields`` are kept from an object's first apply on; before that plain writers own nothing (it would cost each
  heartbeat more than its commit), and what they wrote then belongs to ``before-first-apply``. At most ten plain writers are
  told apart by the real server, here all. A map that an apply leaves with nothing but empty lists in it stays; the real
  server drops it now and then.
- Strategic merge patch of built-in kinds is a merge patch: lists are replaced.
- No garbage collector (envtest has none either): ownerReferences delete nothing, ``propagationPolicy`` is checked and then
  ignored. A namespace is emptied, and is gone, within the request that makes it possible: in a cluster its controller
  takes a moment, in envtest there is none.
- The past reaches as far back as the watch history: a number of changes of each kind (10,000), not five minutes.
- Nothing outlives the process: a new server starts at resourceVersion 1000, answers 410 to watchers from before that, and
  takes later ones to be waiting for the future.
- Bookmarks come every ten seconds, not every minute.
- Built-in kinds are Namespaces, Events (which live for ever), SelfSubjectAccessReviews and CRDs only: no ServiceAccounts,
  Roles, Pods, Leases. No admission webhooks, resource quotas, priority and fairness, or scale subresource. No HEAD.
- JSON only (YAML for apply); of protobuf what kubectl sends in ``create namespace``, ``auth can-i`` and delete options; no
  CBOR, no TLS.
- 1, 1.0 and true are equal when a write is compared with what is stored.
"""
