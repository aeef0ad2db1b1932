"""Identity providers: OpenID Connect 1.0, and GitHub's OAuth 2.0."""
