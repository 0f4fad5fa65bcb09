// Preact and htm: a tagged template makes the tree, and text in it is always text.
import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);
