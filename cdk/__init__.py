"""The CDK app's constructs, one a file, with the stages. They know the functions by path, and never import them.

`VideoReclaim` of ``video_reclaim`` is what another app uses; installed, this package is ``video_reclaim_cdk``.
"""
