"""A Streamlit app that counts: what it knows lives as long as its WebSocket does."""

from __future__ import annotations

import streamlit as st

st.title("Counter")
name = st.text_input("Name", "nobody")
if st.button("Count"):
    st.session_state["clicks"] = st.session_state.get("clicks", 0) + 1
st.text(f"{name}: {st.session_state.get('clicks', 0)} clicks")
